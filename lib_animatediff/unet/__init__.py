"""Where motion modules sit in a UNet, and how they are put in and taken out."""

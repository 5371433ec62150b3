"""What happens at which step to which frame: context windows and how overlaps are averaged."""

"""The documentation says what the code does."""

from lib_animatediff.fields import FIELDS
from lib_animatediff.fields_doc import PAGE, fields_page


def test_the_page_of_fields_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == fields_page(), "run: python -m lib_animatediff.fields_doc"


def test_every_field_is_on_it():
    page = fields_page()
    assert all(f"| `{row.name}` |" in page for row in FIELDS)

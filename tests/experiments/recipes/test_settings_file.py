"""The generated list of all names and settings."""

from settings_file import FILE, content


def test_the_list_of_settings_is_that_of_the_modules() -> None:
    assert FILE.read_text(encoding="utf-8") == content(), "it is out of date: run make settings"

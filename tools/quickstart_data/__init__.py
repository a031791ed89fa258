"""Drawing and writing of the datasets of tools/make_quickstart_data.py."""

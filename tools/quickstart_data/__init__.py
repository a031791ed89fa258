"""How the sets of tools/make_quickstart_data.py are drawn and written."""

"""The plug-in of these tests is loaded in processes of its own: its entries must not come into this one."""

collect_ignore = ["sketch.py"]

"""What both ends of Littoral agree on, and what a camera app imports. It depends on nothing but Python."""

__version__ = "0.1.0"

"""How Littoral's Debian packages are built: `./dev deb`. What is in them is said by `packaging/deb/debian`."""

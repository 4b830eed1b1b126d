"""Games from ttyrecs: finding them, reading them, and the lines of NetHack's log about them."""

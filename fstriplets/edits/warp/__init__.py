"""The weight-free `warp` editor."""

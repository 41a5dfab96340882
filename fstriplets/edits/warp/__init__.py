"""The `warp` editor: drawn by rules from landmarks."""

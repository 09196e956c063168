"""What runs inside the walls, beside the program. Not trusted."""

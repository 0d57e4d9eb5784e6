"""What was used over time: measured, added up by hour, day and month, and reported."""

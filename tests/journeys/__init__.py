"""Whole journeys through a running gateway, with foreign programs at both ends."""

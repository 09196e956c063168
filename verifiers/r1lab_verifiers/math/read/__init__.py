"""Parses mathematical answers into typed trees."""

"""Campaigns of damage, kills and takeovers: long, random, repeatable by a seed; see the README of this folder."""

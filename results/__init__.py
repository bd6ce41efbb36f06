"""What runs leave behind, and everything made of it: data frames, statistics, figures and reports."""

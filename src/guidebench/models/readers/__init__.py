"""Networks that read samples: they guide, judge, describe and compare, and never generate."""

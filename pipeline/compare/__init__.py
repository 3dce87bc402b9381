"""What mining pays: arms that differ in their negatives alone, trained under one budget with several seeds."""

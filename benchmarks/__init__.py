"""Side by side against peers, in one run, on the same vectors. `make bench` and `make bench-mining` run it."""

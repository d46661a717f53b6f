"""Where commands run: drivers, their probe, the proxy to the network, and the end of processes."""

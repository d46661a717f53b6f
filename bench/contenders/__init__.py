"""Those who do the workloads: ours, hand-written floors, and peers."""

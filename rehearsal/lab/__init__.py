"""The lab: real control planes and Argo CD on loopback, built from pinned Go modules, for the clusters that the program declares."""

"""The lab: control planes and Argo CD, real and on loopback, built from pinned Go modules, for the clusters of the program."""

"""Launchers of nodes on other machines; SSH, Slurm and Kubernetes get one small class each here. Nothing yet."""

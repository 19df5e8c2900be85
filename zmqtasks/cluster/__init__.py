"""Clusters: nodes on other hosts, started from here, and ended with us.

cluster                 `zmqtasks.Cluster`: what a program sees
hosts                   the file of hosts
keeper, host_run        the process that holds a cluster, and one host of it
far                     the program on each host
launcher                how a far program is reached: ssh; a Slurm or Kubernetes launcher would be another such class
conversation, records   what a keeper is asked; where running ones are found
"""

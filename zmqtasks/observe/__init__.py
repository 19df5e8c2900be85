"""Looking at a mesh. Metrics, tracing and dashboards will be here, each behind an extra; so far there is:

hooks        functions of a program that are called at each step of its tasks and nodes
logs         log records on their way to Logstash
meter        figures of a client, which add up
yardstick    how fast a mesh is, asked through a client
chores       what workers do meanwhile
"""

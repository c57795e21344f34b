"""What each cause is called, what mends it, and what to ask next."""

TITLES = {
    "blocking_call": "A call that waits blocks the event loop",
    "cpu_on_loop": "Computation keeps the event loop",
    "overload": "More requests than the workers can compute",
    "cpu_starvation": "Other processes took the CPU",
    "cpu_quota": "The CPU quota held the container back",
    "gc": "The garbage collector paused the workers",
    "redis_slow": "Redis, or the way to it, is slow",
    "redis_pool": "Commands wait for a free connection to Redis",
    "upstream_pool": "Calls wait for a free connection to an upstream",
    "upstream_slow": "An upstream is slow",
    "offload_full": "The offload pool is full",
    "uneven_workers": "One worker gets most of the requests",
    "low_hit_ratio": "The cache answers few look-ups",
}

FIXES = {
    "blocking_call": (
        "Hand the call to a thread, use a client for asyncio, or declare the route with `def`:\n"
        "    from servekit.offload import ThreadsDep\n"
        "    async def route(threads: ThreadsDep): value = await threads.run(function, argument)"
    ),
    "cpu_on_loop": (
        "Hand work of 5 ms and more to a process, or give way within a long loop:\n"
        "    from servekit.offload import ProcessesDep, cooperatively\n"
        "    async def route(processes: ProcessesDep): await processes.run(function, argument)\n"
        "    async for item in cooperatively(items): ..."
    ),
    "overload": (
        "Add workers where CPUs are idle (`scale 4`, or WORKERS=4), else replicas; make the route\n"
        "that takes most of the time cheaper; mark what may be refused first:\n"
        "    from servekit import sheddable"
    ),
    "cpu_starvation": (
        "Give the service CPUs of its own: a CPU request in Kubernetes, fewer WORKERS than CPUs,\n"
        "or a machine without the other processes."
    ),
    "cpu_quota": (
        "Raise the limit of CPUs, or lower WORKERS to what it allows:\n"
        "    resources: {limits: {cpu: 2}}   # or none, with a request"
    ),
    "gc": (
        "Make fewer objects that hold each other, or collect less often:\n"
        "    import gc\n"
        "    gc.set_threshold(50_000, 20, 100)   # in create_app"
    ),
    "redis_slow": (
        "Look at SLOWLOG GET and LATENCY DOCTOR, at large values and at the network between;\n"
        "keep more in the workers: CACHE_LOCAL_MIB=128."
    ),
    "redis_pool": (
        "Raise REDIS_CONNECTIONS to commands a second times seconds a command, per worker,\n"
        "and ask for several keys at once."
    ),
    "upstream_pool": (
        "Raise the limit to calls a second times seconds a call, per worker:\n"
        '    service.add_upstream("name", url, connections=64)   # or UPSTREAM_CONNECTIONS=64'
    ),
    "upstream_slow": (
        "Wait less long, cache its answers, or answer without it:\n"
        '    service.add_upstream("name", url, timeout_seconds=0.5)'
    ),
    "offload_full": (
        "Raise OFFLOAD_THREADS to calls a second times seconds a call, per worker, if they wait;\n"
        "OFFLOAD_PROCESSES up to the CPUs, if they compute."
    ),
    "uneven_workers": (
        "Let clients or the proxy open more connections, and close them after a while: a worker\n"
        "keeps those that it has accepted."
    ),
    "low_hit_ratio": (
        "Take out of the key what the answer does not depend on (`ignores=`), let values live\n"
        "longer, enlarge CACHE_LOCAL_MIB, or do not cache what nobody asks for twice."
    ),
}

NEXT = {
    "blocking_call": "profile --seconds 30; the log's event_loop_blocked has the stack",
    "cpu_on_loop": "profile --seconds 30; the log's event_loop_blocked has the stack",
    "overload": "profile --seconds 30",
    "cpu_starvation": "status, and `top` on the host",
    "cpu_quota": "cat /sys/fs/cgroup/cpu.stat in the container",
    "gc": "heap --growth 30",
    "offload_full": "curl 'localhost:9100/debug/threads?worker=0'",
    "upstream_slow": "profile --mode waits",
}
ELSE_NEXT = "curl localhost:9100/metrics"

NOT_JUDGED = (
    "threads that hold the interpreter's lock, CPU time stolen by the hypervisor, frozen "
    "processes, leaks of memory, tasks and files, databases, `def` routes that wait for a thread, "
    "slow clients, stampedes, large JSON, logs that block"
)

"""What each cause is called, what mends it, and what to ask next."""

MIB = 2**20
MEMORY_MIN = 8 * MIB
"""From which on growth of memory is told."""

TITLES = {
    "stopped": "The process was stopped from outside",
    "steal": "The hypervisor gave the CPU to others",
    "gil_contention": "Other threads hold the interpreter",
    "log_blocks": "Writing the log blocks the event loop",
    "huge_json": "Making JSON keeps the event loop",
    "blocking_call": "A call that waits blocks the event loop",
    "cpu_on_loop": "Computation keeps the event loop",
    "overload": "More requests than the workers can compute",
    "cpu_starvation": "Other processes took the CPU",
    "cpu_quota": "The CPU quota held the container back",
    "gc": "The garbage collector paused the workers",
    "redis_away": "Redis is away",
    "redis_slow": "Redis, or the way to it, is slow",
    "redis_pool": "Commands wait for a free connection to Redis",
    "upstream_pool": "Calls wait for a free connection to an upstream",
    "database_pool": "Statements wait for a free connection to the database",
    "connection_held": "Connections to the database are held while something else is awaited",
    "database_slow": "The database is slow",
    "many_statements": "Requests ask the database many times each",
    "threads_starved": "`def` routes wait for a free thread",
    "upstream_away": "An upstream is away",
    "upstream_slow": "An upstream is slow",
    "lock_wait": "Requests wait for a lock of the service's own",
    "offload_full": "The offload pool is full",
    "uneven_workers": "One worker gets most of the requests",
    "low_hit_ratio": "The cache answers few look-ups",
    "task_leak": "Tasks are started and do not end",
    "file_leak": "Files or sockets are opened and not closed",
    "memory_growth": "Memory grows on",
}

FIXES = {
    "stopped": (
        "Ask who stops it: SIGSTOP, `docker pause`, the cgroup freezer, a snapshot of the\n"
        "machine, memory that is swapped out. No change of code helps."
    ),
    "steal": (
        "The machine's host has promised more CPUs than it has: take another machine, or one with\n"
        "CPUs of its own. No change of code helps."
    ),
    "gil_contention": (
        "Threads share one interpreter: hand what computes to a process instead:\n"
        "    from servekit.offload import ProcessesDep\n"
        "    async def route(processes: ProcessesDep): await processes.run(function, argument)"
    ),
    "log_blocks": (
        "Have what reads the log read faster, or drop: `mode: non-blocking` of Docker's log\n"
        "driver, a file instead of a pipe. Log less: LOG_LEVEL=warning. Handlers of your own\n"
        "belong behind logging.handlers.QueueHandler."
    ),
    "huge_json": (
        "Give pages of the list (`limit` and `after`), or stream it; make it in a process:\n"
        "    from servekit.offload import ProcessesDep\n"
        "    body = await processes.run(make_json, argument)   # bytes\n"
        "    return Response(body, media_type='application/json')"
    ),
    "database_pool": (
        "Make the statements quicker, or raise the limit to statements a second times seconds a\n"
        "statement, per worker:\n"
        "    service.add(Database(url, metadata, connections=20))"
    ),
    "connection_held": (
        "Let the connection go before anything else is awaited, such as an upstream. A session\n"
        "has one from its first statement until its transaction ends, one of a dependency until\n"
        "the answer is made:\n"
        "    await session.commit()   # gives it back; expire_on_commit=False keeps what was read\n"
        "    answer = await upstream.get(...)\n"
        "    async with database.engine.connect() as connection: row = ...\n"
        "    answer = await upstream.get(...)   # below, not within"
    ),
    "database_slow": (
        "Look at pg_stat_statements and EXPLAIN (ANALYZE, BUFFERS): an index, a lock, a large\n"
        "result. Keep answers that may be old:\n"
        "    @cached('product:{product_id}', ttl_seconds=60)"
    ),
    "many_statements": (
        "Ask once for all: a join, `selectinload(...)`, or `IN`:\n"
        "    select(items).where(items.c.order_id.in_(ids))"
    ),
    "threads_starved": (
        "Declare the route with `async def` and a client for asyncio; or give its blocking calls\n"
        "threads of their own, as many as calls a second times seconds a call:\n"
        "    from servekit.offload import ThreadsDep   # OFFLOAD_THREADS=64\n"
        "    async def route(threads: ThreadsDep): value = await threads.run(function, argument)"
    ),
    "task_leak": (
        "End what you start: by a condition that comes true, or by who needs it no more:\n"
        "    task.cancel()   # when its owner goes\n"
        "    async with asyncio.timeout(3600): ...   # in the task: it ends at last\n"
        "    async with asyncio.TaskGroup() as group: ...   # where the answer needs them all"
    ),
    "file_leak": (
        "Close what you open, however the request ends: `with open(...)`, `async with client`;\n"
        "make a client once, in a part of the service (`service.add`), not once a request."
    ),
    "memory_growth": (
        "Give what is told above a limit, or take out of it what is done with:\n"
        "    @functools.lru_cache(maxsize=1000)   # not `cache`, not maxsize=None\n"
        "    recent = collections.deque(maxlen=1000)   # not a list\n"
        "    listeners.remove(listener)   # when its owner goes\n"
        "What all workers should know belongs in Redis, with a time to live: `@cached(...)`.\n"
        "If no name is told above, ask again with the next command, under load."
    ),
    "blocking_call": (
        "Hand it to a thread where an `async def` calls it, or use a client for asyncio; a route\n"
        "that awaits nothing may be declared with `def` instead:\n"
        "    from servekit.offload import ThreadsDep\n"
        "    async def route(threads: ThreadsDep): value = await threads.run(function, argument)"
    ),
    "cpu_on_loop": (
        "Make it cheaper first: search in a set, not in a list; limit the input's length; write\n"
        "regular expressions without a repetition in a repetition, as `(a+)+`, which try all ways\n"
        "to part a text. What still takes 5 ms belongs in a process, or gives way in a long loop;\n"
        "validators and `def` cannot await that: move it from there into the route.\n"
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
    "redis_away": (
        "Start Redis, or mend the way to it; what it says, and from where, tells\n"
        "    settings --check --connect\n"
        "A silent or refusing one is away too: redis_breaker_opened in the log has the reason."
    ),
    "upstream_away": (
        "Ask who runs it; upstream_breaker_opened in the log says since when. Answer without it:\n"
        "    from servekit.upstream import UpstreamUnavailable   # 503 where nobody catches it"
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
        "Ask who runs it; keep its answers; call it beside other work, not after it; answer\n"
        "without it when it takes longer than it should:\n"
        "    @cached('rates:{currency}', ttl_seconds=60)\n"
        "    async with asyncio.TaskGroup() as group: rates = group.create_task(fetch())\n"
        '    service.add_upstream("name", url, timeout_seconds=2)   # above its usual time'
    ),
    "lock_wait": (
        "Who has the lock holds it while something else is awaited: take what it protects, let\n"
        "go, then await; or keep what was awaited, so that it is seldom asked for.\n"
        "Or have one for each key, so that only those who need the same wait:\n"
        "    locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)"
    ),
    "offload_full": (
        "Raise OFFLOAD_THREADS to calls a second times seconds a call, per worker, if they wait;\n"
        "OFFLOAD_PROCESSES up to the CPUs, if they compute; a pool of your own has its `size=`."
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
    "stopped": "journalctl -k, and what the orchestrator says of this time",
    "steal": "vmstat 1: the column `st`",
    "gil_contention": "curl '{address}/debug/threads?worker=0'",
    "log_blocks": "curl '{address}/debug/threads?worker=0' while it lasts",
    "huge_json": "profile {port} --seconds 30; the log's event_loop_blocked has the stack",
    "database_pool": "SELECT * FROM pg_stat_activity WHERE state <> 'idle'",
    "connection_held": "profile {port} --mode waits",
    "database_slow": "SELECT * FROM pg_stat_activity WHERE state <> 'idle'",
    "many_statements": "curl '{address}/debug/requests?worker=0'",
    "threads_starved": "curl '{address}/debug/threads?worker=0'",
    "task_leak": "curl '{address}/debug/stacks?worker=0'",
    "file_leak": "ls -l /proc/PID/fd, PID as `status` tells",
    "memory_growth": "heap {port} --growth 30",
    "blocking_call": "profile {port} --seconds 30; the log's event_loop_blocked has the stack",
    "cpu_on_loop": "profile {port} --seconds 30; the log's event_loop_blocked has the stack",
    "overload": "profile {port} --seconds 30",
    "cpu_starvation": "status {port}, and `top` on the host",
    "cpu_quota": "cat /sys/fs/cgroup/cpu.stat in the container",
    "gc": "heap {port} --growth 30",
    "redis_away": "settings --check --connect",
    "offload_full": "curl '{address}/debug/threads?worker=0'",
    "upstream_slow": "profile {port} --mode waits",
    "lock_wait": "profile {port} --mode waits",
}
ELSE_NEXT = "curl {address}/metrics"


def next_step(cause: str, address: str) -> str:
    """Return what to ask next of the service whose admin port is at an address."""
    port = f"--on-port {address.rpartition(':')[2]}"
    return NEXT.get(cause, ELSE_NEXT).replace("{address}", address).replace("{port}", port)


LONG_SECONDS = 100
"""Enough to see memory that grows by 5 MiB a minute."""
NOT_JUDGED = (
    "slow clients, a herd at a cache that is not ours, memory that is no Python object, databases "
    "and clients that are not servekit's, work of many small pieces, one-off imports in a request"
)


def not_judged(seconds: float) -> str:
    """Return what the doctor does not look at, and what it cannot see in so many seconds."""
    least = 60 * MEMORY_MIN / MIB / max(1.0, seconds)
    longer = f"--seconds {LONG_SECONDS}, or " if seconds < LONG_SECONDS - 1 else ""
    return (
        f"{NOT_JUDGED}, memory that grows into room that the process has from before, or by less "
        f"than {least:.0f} MiB a minute in a worker: {seconds:.0f} s are too short for it "
        f"({longer}`heap --growth`)"
    )

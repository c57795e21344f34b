"""Import every module of cases, so that each registers itself."""

import chaos.cases.bad_input
import chaos.cases.bombs
import chaos.cases.cache_isolation
import chaos.cases.cache_loads
import chaos.cases.deploys
import chaos.cases.errors
import chaos.cases.forged
import chaos.cases.fuzzing
import chaos.cases.headers
import chaos.cases.http_caching
import chaos.cases.offload
import chaos.cases.overload
import chaos.cases.redis_answers
import chaos.cases.redis_faults
import chaos.cases.refusals
import chaos.cases.session_ids
import chaos.cases.session_lives
import chaos.cases.sessions
import chaos.cases.sessions_down
import chaos.cases.slow_clients
import chaos.cases.spread
import chaos.cases.turmoil
import chaos.cases.upstream
import chaos.cases.wire
import chaos.cases.workers  # noqa: F401

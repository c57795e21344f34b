"""Import every module of cases, so that each registers itself."""

import chaos.cases.bad_input
import chaos.cases.deploys
import chaos.cases.offload
import chaos.cases.overload
import chaos.cases.refusals
import chaos.cases.slow_clients
import chaos.cases.spread
import chaos.cases.workers  # noqa: F401

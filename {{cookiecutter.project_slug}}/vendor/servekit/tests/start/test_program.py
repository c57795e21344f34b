from fastapi import FastAPI
from structlog.testing import capture_logs

from servekit import Service, Settings
from servekit.start.program import program_of


def test_hooks_of_a_service_reach_its_program_and_one_that_raises_does_not_stop_the_next(
    monkeypatch,
):
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    settings = Settings()
    service = Service(settings)
    app = FastAPI(telemetry=service.telemetry)
    service.install(app)
    calls: list[str] = []

    @service.on_drain
    def fails(reason: str) -> None:
        raise RuntimeError(reason)

    service.on_drain(calls.append)
    service.on_worker_exit(lambda: fails("exit"))
    service.on_worker_exit(lambda: calls.append("exit"))
    program = program_of(app, settings)

    with capture_logs() as logs:
        program.begin_drain("reload")
        program.leave_worker()

    assert calls == ["reload", "exit"]
    assert [line["event"] for line in logs] == ["hook_failed"] * 2

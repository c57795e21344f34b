"""The guide to a first route: its files are written into a fresh project, its commands run."""

import re
import subprocess
from pathlib import Path

import pytest
from render import render
from running import RunningService, make

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Guide:
    """What the page says, as files to write and commands to run."""

    def __init__(self, page: Path) -> None:
        self.files: dict[str, str] = {}
        self.imports: list[str] = []
        self.in_create_app: list[str] = []
        self.in_settings: list[str] = []
        self.commands: list[tuple[str, str]] = []
        for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "console":
                self.read_commands(text)
            else:
                self.read_code(*text.removeprefix("# ").split("\n", 1))

    def read_code(self, place: str, code: str) -> None:
        path, _, where = place.partition(", ")
        lines = [f"    {line}\n" if line else "\n" for line in code.splitlines()]
        match where:
            case "at the top":
                self.imports.append(code)
            case "in create_app":
                self.in_create_app += lines
            case "in Settings":
                self.in_settings += ["\n", *lines]
            case "":
                self.files[path] = code
            case _:
                raise AssertionError(place)

    def read_commands(self, text: str) -> None:
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            self.commands.append((command, output))

    def write(self, project: Path) -> None:
        for path, code in self.files.items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(code, encoding="utf-8")
        app = project / "src/service/app.py"
        text = app.read_text(encoding="utf-8")
        text = text.replace(
            "from service.settings", "".join(self.imports) + "from service.settings", 1
        )
        text = text.replace("    return app\n", "".join(self.in_create_app) + "    return app\n")
        app.write_text(text, encoding="utf-8")
        with (project / "src/service/settings.py").open("a", encoding="utf-8") as settings:
            settings.writelines(self.in_settings)


@pytest.fixture(scope="module")
def guide(template) -> Guide:
    return Guide(next(template.glob("{{*/docs/first-route.md")))


@pytest.fixture(scope="module")
def project(template, guide, tmp_path_factory) -> Path:
    project = render(template, tmp_path_factory.mktemp("guide"))
    guide.write(project)
    done = make(project, "install")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_what_the_guide_writes_passes_lint_and_types(project):
    for command in (["ruff", "check", "--extend-ignore", "I001", "src"], ["mypy", "-p", "service"]):
        tool = project / ".venv" / "bin" / command[0]
        done = subprocess.run(
            [tool, *command[1:]], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_of_the_guide_answers_as_it_says(project, guide, tmp_path):
    service = RunningService(project, tmp_path / "service", WORKERS=1)
    try:
        for command, expected in guide.commands:
            here = command.replace("http://127.0.0.1:8000", service.base_url)
            here = here.replace("http://127.0.0.1:9100", service.admin_url)
            done = subprocess.run(
                here.replace("curl ", "curl -s --max-time 20 "),
                shell=True,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stdout.strip() == expected.strip(), (command, service.log)
    finally:
        service.stop()


def test_the_guides_own_tests_pass(project, guide):
    tests = [path for path in guide.files if path.startswith("tests/")]
    assert len(tests) == 2
    done = subprocess.run(
        [project / ".venv" / "bin" / "python", "-m", "pytest", "-q", *tests],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""What the service is deployed with is hardened, and its numbers and names fit together.

Linters run in test_workflows.py; here stand the rules of the Pod Security profile "restricted", of
kube-score and of Polaris, whose programs come from no package index.
"""

import ast
import os
import re
import shutil
import subprocess
import tomllib
import urllib.request
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from render import render

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
CLOSE_SECONDS = 5.0
"""What the service plans for closing pools and processes, its environment.CLOSE_SECONDS."""


@pytest.fixture(scope="module", params=["my-service", "a-slug-of-forty-characters-the-most-give"])
def project(request, template, tmp_path_factory) -> Path:
    answers = {"project_slug": request.param, "python_version": "3.11"}
    return render(template, tmp_path_factory.mktemp("deployment"), **answers)


@pytest.fixture(scope="module")
def objects(project) -> dict[str, Any]:
    """The Kubernetes objects by kind; there is one of each."""
    loaded = [
        yaml.safe_load(path.read_text())
        for path in sorted((project / "deploy" / "kubernetes").glob("*.yaml"))
    ]
    assert len({each["kind"] for each in loaded}) == len(loaded)
    return {each["kind"]: each for each in loaded}


@pytest.fixture(scope="module")
def pod(objects):
    return objects["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.fixture(scope="module")
def environment(project) -> dict[str, str]:
    """The settings that the pods get."""
    lines = (project / "deploy" / "kubernetes" / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def settings_defaults(project: Path) -> dict[str, Any]:
    """Read names and default values of the settings from their sources."""
    library = project / "vendor" / "servekit" / "src/servekit/configuration/settings.py"
    defaults: dict[str, Any] = {}
    for path in (library, project / "src" / "service" / "settings.py"):
        defaults |= defaults_of(ast.parse(path.read_text()))
    return defaults


def defaults_of(tree: ast.Module) -> dict[str, Any]:
    (model,) = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings"
    ]
    defaults: dict[str, Any] = {}
    for node in model.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            keywords = {each.arg: each.value for each in getattr(node.value, "keywords", [])}
            value = keywords.get("default", node.value)
            defaults[node.target.id.upper()] = (
                value.value if isinstance(value, ast.Constant) else None
            )
    return defaults


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def need(program: str, package: str) -> str:
    """Return the path of a program, which its variable may name, or skip the test."""
    path = shutil.which(os.environ.get(program.upper(), program))
    if path is None:
        pytest.skip(f"{program} is missing: it comes with {package}")
    return path


def mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


class TestPodSecurityRestricted:
    def test_the_pod_shares_nothing_with_its_node(self, pod, container):
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostAliases"} & set(pod)
        assert all("hostPort" not in port for port in container["ports"])
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= RESTRICTED_VOLUMES
        assert "sysctls" not in pod["securityContext"]

    def test_the_container_has_no_privilege(self, container):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["privileged"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "procMount" not in security

    def test_it_runs_as_a_number_that_is_nobody_under_seccomp(self, project, pod, container):
        for security in (pod["securityContext"], container["securityContext"]):
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] >= 10_000
            assert security["runAsGroup"] >= 10_000
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        user = f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
        assert user in (project / "Dockerfile").read_text().splitlines()

    def test_probes_name_no_host(self, container):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert set(container[probe]["httpGet"]) == {"path", "port"}

    def test_the_namespace_enforces_the_profile(self, objects):
        labels = objects["Namespace"]["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


class TestWorkload:
    """The checks of kube-score and Polaris."""

    def test_only_tmp_can_be_written(self, pod, container):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for mount in container["volumeMounts"]:
            if not mount.get("readOnly"):
                assert mount["mountPath"] == "/tmp"
                assert volumes[mount["name"]]["emptyDir"]["sizeLimit"]

    def test_every_resource_has_a_request_and_a_limit(self, container):
        for side in ("requests", "limits"):
            assert set(container["resources"][side]) == {"cpu", "memory", "ephemeral-storage"}
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests["memory"] == limits["memory"]

    def test_the_image_is_named_by_digest_and_always_pulled(self, container):
        assert re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", container["image"])
        assert container["imagePullPolicy"] == "Always"

    def test_pods_cannot_speak_to_the_api_server(self, objects, pod):
        assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
        assert pod["enableServiceLinks"] is False

    def test_secrets_come_as_a_file_and_not_as_variables(self, pod, container, environment):
        assert "env" not in container
        assert [set(source) for source in container["envFrom"]] == [{"configMapRef"}]
        assert not any(re.search("SECRET|TOKEN|PASSWORD|_URL$", name) for name in environment)
        (secret,) = [volume for volume in pod["volumes"] if "secret" in volume]
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == secret["name"]]
        assert mount["readOnly"] is True
        assert secret["secret"]["defaultMode"] == 0o440
        assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
        # The service reads `.env` of its working directory.
        assert container["workingDir"] == mount["mountPath"]
        assert secret["secret"]["items"] == [{"key": ".env", "path": ".env"}]

    def test_labels_selectors_and_names_meet(self, objects):
        deployment = objects["Deployment"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selectors = [
            deployment["spec"]["selector"]["matchLabels"],
            objects["Service"]["spec"]["selector"],
            objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
            objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
            objects["PodMonitor"]["spec"]["selector"]["matchLabels"],
            *(
                constraint["labelSelector"]["matchLabels"]
                for constraint in deployment["spec"]["template"]["spec"][
                    "topologySpreadConstraints"
                ]
            ),
        ]
        assert all(selector == labels for selector in selectors)
        assert labels["app.kubernetes.io/instance"] == deployment["metadata"]["name"]
        target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
        assert target == {
            "apiVersion": deployment["apiVersion"],
            "kind": "Deployment",
            "name": deployment["metadata"]["name"],
        }
        namespace = objects["Namespace"]["metadata"]["name"]
        assert objects["Kustomization"]["namespace"] == namespace
        for kind, each in objects.items():
            if kind not in {"Namespace", "Kustomization"}:
                assert each["metadata"]["namespace"] == namespace, kind
            if kind != "Kustomization":
                assert len(each["metadata"]["name"]) <= 63

    def test_ports_are_found_by_name(self, objects, container, project):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        defaults = settings_defaults(project)
        assert ports == {"http": defaults["PORT"], "admin": defaults["ADMIN_PORT"]}
        (served,) = objects["Service"]["spec"]["ports"]
        assert served["targetPort"] == "http"
        assert objects["Service"]["spec"]["type"] == "ClusterIP"
        (scraped,) = objects["PodMonitor"]["spec"]["podMetricsEndpoints"]
        assert scraped["port"] == "admin"

    def test_the_network_policy_opens_only_what_is_used(self, objects):
        policy = objects["NetworkPolicy"]["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        for rule in policy["ingress"]:
            if "from" not in rule:
                assert [port["port"] for port in rule["ports"]] == ["http"]
        assert all(rule["ports"] for rule in policy["ingress"] + policy["egress"])

    def test_deploys_and_drains_of_nodes_leave_pods_that_serve(self, objects, pod):
        deployment, scaler = (
            objects["Deployment"]["spec"],
            objects["HorizontalPodAutoscaler"]["spec"],
        )
        assert "replicas" not in deployment
        assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert deployment["minReadySeconds"] > 0
        assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
        budget = objects["PodDisruptionBudget"]["spec"]
        assert budget["maxUnavailable"] < scaler["minReplicas"]
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        spread = {each["topologyKey"] for each in pod["topologySpreadConstraints"]}
        assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}

    def test_readiness_asks_another_question_than_liveness(self, container):
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["startupProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


class TestNumbersFit:
    def test_the_settings_exist(self, project, environment):
        assert set(environment) <= set(settings_defaults(project))

    def test_the_grace_period_covers_delay_drain_and_closing(self, pod, environment):
        stop = float(environment["DRAIN_DELAY_SECONDS"]) + float(
            environment["TIMEOUT_DRAIN_SECONDS"]
        )
        grace = pod["terminationGracePeriodSeconds"]
        assert grace >= stop + CLOSE_SECONDS + 2
        assert float(environment["GRACE_PERIOD_SECONDS"]) == grace

    def test_the_grace_period_of_compose_covers_drain_and_closing(self, project):
        service = yaml.safe_load((project / "compose.yaml").read_text())["services"]["service"]
        grace = float(service["stop_grace_period"].removesuffix("s"))
        drain = settings_defaults(project)["TIMEOUT_DRAIN_SECONDS"]
        assert grace >= drain + CLOSE_SECONDS + 2
        assert service["environment"]["GRACE_PERIOD_SECONDS"] == grace

    def test_probes_are_slower_than_the_services_own_repairs(self, project, container):
        defaults = settings_defaults(project)

        def seconds(probe: str) -> float:
            return float(container[probe]["periodSeconds"] * container[probe]["failureThreshold"])

        start, hang = defaults["WORKER_START_SECONDS"], defaults["WORKER_HANG_SECONDS"]
        assert seconds("startupProbe") >= start
        assert seconds("livenessProbe") >= 2 * hang

    def test_workers_are_replaced_then_shed_before_the_kernel_ends_the_container(
        self, container, environment
    ):
        limits = container["resources"]["limits"]
        workers, recycle = int(limits["cpu"]), int(environment["WORKER_RECYCLE_RSS_MIB"])
        pressure = int(environment["PRESSURE_RSS_MIB"])
        assert recycle < pressure
        assert pressure * workers + 150 <= mebibytes(limits["memory"])


class TestCompose:
    @pytest.fixture
    def services(self, project):
        return yaml.safe_load((project / "compose.yaml").read_text())["services"]

    def test_every_container_is_confined(self, services):
        assert set(services) == {"service", "caddy", "redis", "postgres"}
        for name, service in services.items():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["restart"] == "on-failure:5"
            assert service["pids_limit"] > 0
            assert service["cpus"] > 0
            assert service["memswap_limit"] == service["mem_limit"]
            assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))

    def test_stores_are_healthy_first_and_reached_by_the_service_only(self, project, services):
        networks = yaml.safe_load((project / "compose.yaml").read_text())["networks"]
        for store in ("redis", "postgres"):
            assert services["service"]["depends_on"][store] == {"condition": "service_healthy"}
            assert "healthcheck" in services[store]
            assert "ports" not in services[store]
            (network,) = services[store]["networks"]
            assert networks[network]["internal"] is True

    def test_the_public_port_is_open_to_this_machine_only(self, services):
        assert all(port.startswith("127.0.0.1:") for port in services["service"]["ports"])

    def test_a_password_of_any_characters_stands_in_no_url(self, services):
        environment = services["service"]["environment"]
        assert environment["PGPASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        assert "PASSWORD" not in environment["DATABASE_URL"]

    def test_caddy_is_there_when_asked_for_and_then_alone_open_to_all(self, services):
        assert services["caddy"]["profiles"] == ["caddy"]
        assert "443:443/udp" in services["caddy"]["ports"]
        assert services["caddy"]["networks"] == ["front"]

    def test_a_secret_key_must_be_given(self, services):
        assert services["service"]["environment"]["SECRET_KEY"].startswith("${SECRET_KEY:?")


class TestImage:
    @pytest.fixture
    def dockerfile(self, project):
        return (project / "Dockerfile").read_text()

    def test_it_installs_wheels_by_hash_or_from_the_tree_without_an_index(self, dockerfile):
        lines = dockerfile.replace("\\\n", " ")
        commands = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) [^&\n]*", lines)
        assert len(commands) == 4
        for command in commands:
            by_hash = "--require-hashes" in command and "--only-binary :all:" in command
            assert by_hash or "--no-deps --no-index" in command, command

    def test_it_is_built_without_a_frontend_from_elsewhere(self, dockerfile):
        assert not re.search(r"^#\s*syntax=", dockerfile, re.MULTILINE)

    def test_the_service_is_process_one_and_ends_on_sigterm(self, dockerfile):
        assert dockerfile.splitlines()[-1] == 'ENTRYPOINT ["python", "-m", "service"]'
        assert "STOPSIGNAL SIGTERM\n" in dockerfile
        assert re.search(r'HEALTHCHECK .*\\\n +CMD \["python", ', dockerfile)

    def test_python_is_the_one_of_the_answer(self, project, dockerfile):
        assert 'ARG PYTHON_VERSION="3.11"\n' in dockerfile
        assert "FROM python:${PYTHON_VERSION}-slim-bookworm AS base\n" in dockerfile
        # The workflows read it from there.
        for line in re.findall(
            r"sed -n '(.*)' Dockerfile", (project / ".github/workflows/ci.yml").read_text()
        ):
            assert run(project, "sed", "-n", line, "Dockerfile").stdout == "python=3.11\n"

    def test_the_context_holds_only_what_the_build_copies(self, project):
        lines = (project / ".dockerignore").read_text().splitlines()
        rules = [line for line in lines if line and not line.startswith("#")]
        assert rules[0] == "*"
        assert {rule for rule in rules if rule.startswith("!")} == {
            "!LICENSE",
            "!README.md",
            "!pyproject.toml",
            "!requirements/build.txt",
            "!requirements/runtime.txt",
            "!src",
            "!vendor/servekit/LICENSE",
            "!vendor/servekit/README.md",
            "!vendor/servekit/pyproject.toml",
            "!vendor/servekit/src",
        }


class TestRelease:
    @pytest.fixture
    def job(self, project):
        release = yaml.safe_load((project / ".github/workflows/release.yml").read_text())
        assert release["jobs"]["image"]["needs"] == "ci"
        return release["jobs"]["image"]

    def test_the_image_has_an_sbom_and_provenance_and_no_cached_layer(self, job):
        (build,) = [step for step in job["steps"] if step.get("id") == "build"]
        assert build["with"]["sbom"] is True
        assert build["with"]["provenance"] == "mode=max"
        assert build["with"]["no-cache"] is True

    def test_both_are_attested_for_the_digest_that_was_built(self, job):
        attested = [
            step["with"]
            for step in job["steps"]
            if step.get("uses", "").startswith("actions/attest")
        ]
        assert ["sbom-path" in inputs for inputs in attested] == [False, True]
        for inputs in attested:
            assert inputs["subject-digest"] == "${{ steps.build.outputs.digest }}"
            assert inputs["push-to-registry"] is True
        assert job["permissions"] == {
            "contents": "read",
            "packages": "write",
            "id-token": "write",
            "attestations": "write",
        }

    def test_dependabot_looks_after_packages_images_and_actions_and_waits_a_week(self, project):
        updates = yaml.safe_load((project / ".github/dependabot.yml").read_text())["updates"]
        assert [update["package-ecosystem"] for update in updates] == [
            "pip",
            "docker-compose",
            "github-actions",
        ]
        assert all(update["cooldown"]["default-days"] >= 7 for update in updates)


class TestAlerts:
    @pytest.fixture
    def rules(self, project) -> list[dict[str, Any]]:
        groups = yaml.safe_load((project / "deploy/prometheus/alerts.yaml").read_text())["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def test_every_alert_is_tested_and_explained(self, project, rules):
        tests = (project / "deploy/prometheus/alerts_test.yaml").read_text()
        guide = (project / "docs" / "deployment.md").read_text()
        for rule in rules:
            name = rule["alert"]
            assert tests.count(f"alertname: {name}\n") == 2, f"{name}: one that fires, one not"
            assert f"\n### {name}\n" in guide
            assert rule["annotations"]["runbook"] == f"docs/deployment.md#{name.lower()}"
            assert rule["labels"]["severity"] in {"page", "ticket"}

    def test_the_scrape_job_of_each_file_is_the_one_that_the_alerts_select(
        self, project, objects, rules
    ):
        jobs = {job for rule in rules for job in re.findall(r'job="([^"]+)"', rule["expr"])}
        config = yaml.safe_load((project / "deploy/prometheus/prometheus.yaml").read_text())
        assert jobs == {scrape["job_name"] for scrape in config["scrape_configs"]}
        label = objects["PodMonitor"]["spec"]["jobLabel"]
        assert jobs == {objects["Deployment"]["spec"]["template"]["metadata"]["labels"][label]}

    def test_promtool_accepts_the_rules_and_their_tests_pass(self, project):
        promtool = need("promtool", "Debian's package prometheus")
        folder = project / "deploy" / "prometheus"
        for command in (
            ("check", "rules", "alerts.yaml"),
            ("test", "rules", "alerts_test.yaml"),
            ("check", "config", "--syntax-only", "prometheus.yaml"),
        ):
            done = run(folder, promtool, *command)
            assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_that_an_alert_reads_is_exported(start_service, rendered_service):
    alerts = (rendered_service / "deploy" / "prometheus" / "alerts.yaml").read_text()
    series = re.findall(r"(\w+)\{job=", alerts)
    read = {re.sub("_(count|bucket)$", "", name) for name in series} - {"up"}
    assert len(read) >= 7
    service = start_service()
    with urllib.request.urlopen(f"{service.admin_url}/metrics", timeout=5) as answer:
        exported = re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE)
    assert read <= set(exported), sorted(read - set(exported))


def test_checkov_finds_nothing(project):
    checkov = need("checkov", "pip install checkov, in an environment of its own")
    frameworks = ("dockerfile", "github_actions", "kubernetes")
    done = run(
        project,
        checkov,
        "-d",
        ".",
        "--framework",
        *frameworks,
        "--skip-download",
        "--quiet",
        "--compact",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checkov:skip" not in "".join(path.read_text() for path in project.rglob("*.yaml"))


def test_kustomize_builds_what_the_files_say(project):
    kubectl = need("kubectl", "the Kubernetes client")
    done = run(project, kubectl, "kustomize", "deploy/kubernetes")
    assert done.returncode == 0, done.stdout + done.stderr
    built = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    assert source["configMapRef"]["name"] == built["ConfigMap"]["metadata"]["name"]
    assert built["ConfigMap"]["data"]["GRACE_PERIOD_SECONDS"] == "35"


@pytest.mark.parametrize("part", [".", "vendor/servekit"])
def test_locked_packages_are_those_of_pyproject(project, part):
    package = tomllib.loads((project / part / "pyproject.toml").read_text())["project"]
    declared = package["dependencies"]
    locked = (project / "requirements" / "runtime.txt").read_text()
    for requirement in declared:
        match = re.match(r"[\w.-]+", requirement)
        assert match
        assert re.search(rf"^{match[0].lower()}==", locked, re.MULTILINE), requirement


def test_docs_name_paths_that_exist(project):
    guide = (project / "docs" / "deployment.md").read_text()
    names = [path.relative_to(project).as_posix() for path in project.rglob("*")]
    for path in re.findall(r"`((?:deploy|requirements|src|vendor)/?[\w./-]*)`", guide):
        assert any(fnmatch(name, path) for name in names), path

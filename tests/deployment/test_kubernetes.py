"""The Kubernetes files are hardened, and their numbers fit together.

Here stand the rules of the Pod Security profile "restricted", of kube-score and of Polaris, whose
programs come from no package index.
"""

import re

import yaml
from programs import need, run
from settings_source import CLOSE_SECONDS, settings_defaults

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
        assert all(rule["from"] for rule in policy["ingress"])
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


def test_kustomize_builds_what_the_files_say(project):
    kubectl = need("kubectl", "the Kubernetes client")
    done = run(project, kubectl, "kustomize", "deploy/kubernetes")
    assert done.returncode == 0, done.stdout + done.stderr
    built = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    assert source["configMapRef"]["name"] == built["ConfigMap"]["metadata"]["name"]
    assert built["ConfigMap"]["data"]["GRACE_PERIOD_SECONDS"] == "35"

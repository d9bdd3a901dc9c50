//! The machine configuration: rendered, read, patched, judged.

mod site;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use castle_core::node::NodeSite;
use castle_core::{ErrorKind, NodeRole, SecretBytes};
use castle_talos::config::{self, Config, Rules, Version};
use castle_talos::{EncryptionSecret, SecretsBundle};
use serde_json::Value;
use site::{blue, bundle, fortress, target, text_of};

fn rendered(site: &NodeSite, role: NodeRole) -> String {
    let text = config::render(site, &target(site, role)).unwrap_or_else(|error| panic!("{error:?}"));
    String::from_utf8(text.expose().clone()).expect("YAML is text")
}

/// The documents as another reader sees them.
fn documents(text: &str) -> Vec<Value> {
    text.split("---\n").map(|part| serde_saphyr::from_str(part).expect("YAML")).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

fn decode(text: &str) -> Result<Config, String> {
    Config::decode(&SecretBytes::from(text.as_bytes().to_vec()), Version::V1_13)
        .map_err(|refusal| refusal.talos_text().expose().clone())
}

#[test]
fn a_control_plane_of_fortress_says_all_that_it_needs() {
    let bundle = bundle(1);
    let site = fortress(&bundle);
    let read = documents(&rendered(&site, NodeRole::ControlPlane));
    let root = &read[0];
    assert_eq!(root["machine"]["type"], "controlplane");
    assert_eq!(root["cluster"]["controlPlane"]["endpoint"], "https://192.168.1.210:6443");
    assert_eq!(root["cluster"]["id"], bundle.cluster_id.as_str());
    let sans: Vec<&str> =
        root["cluster"]["apiServer"]["certSANs"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(sans, ["192.168.1.210", "192.168.1.211", "192.168.1.212", "192.168.1.213"]);
    assert!(root["machine"].get("install").is_none(), "a disk image is installed already");
    assert!(root["cluster"].get("allowSchedulingOnControlPlanes").is_none(), "there are workers");
    let EncryptionSecret::Secretbox(secretbox) = &bundle.encryption else { panic!("new bundles use secretbox") };
    assert!(root["cluster"]["secretboxEncryptionSecret"] == secretbox.expose().as_str());
    assert_eq!(root["cluster"]["apiServer"]["image"], "registry.k8s.io/kube-apiserver:v1.36.3");
    assert_eq!(root["machine"]["kubelet"]["image"], "ghcr.io/siderolabs/kubelet:v1.36.3");

    let only = |kind: &str| match of_kind(&read, kind).as_slice() {
        [one] => (*one).clone(),
        other => panic!("{} of {kind}", other.len()),
    };
    assert_eq!(only("HostnameConfig")["hostname"], site.project.machines[0].node.as_str());
    let link = only("LinkConfig");
    assert_eq!(link["name"], "eth0");
    assert_eq!(link["addresses"][0]["address"], "192.168.1.211/24");
    assert_eq!(link["routes"][0]["gateway"], "192.168.1.1");
    assert_eq!(only("ResolverConfig")["nameservers"][0]["address"], "192.168.1.1");
    assert_eq!(only("Layer2VIPConfig")["name"], "192.168.1.210");
    let volumes: Vec<_> = of_kind(&read, "VolumeConfig");
    assert_eq!(
        volumes.iter().map(|volume| volume["name"].as_str()).collect::<Vec<_>>(),
        [Some("STATE"), Some("EPHEMERAL")]
    );
    for volume in volumes {
        assert_eq!(volume["encryption"]["provider"], "luks2");
        assert_eq!(volume["encryption"]["keys"][0]["slot"], 0);
        assert!(volume["encryption"]["keys"][0]["nodeID"].is_object());
    }
}

#[test]
fn a_worker_holds_no_key_of_an_authority_and_no_vip() {
    let bundle = bundle(2);
    let site = fortress(&bundle);
    let text = rendered(&site, NodeRole::Worker);
    let read = documents(&text);
    assert_eq!(read[0]["machine"]["type"], "worker");
    assert_eq!(read[0]["machine"]["ca"]["key"], "");
    assert_eq!(read[0]["cluster"]["ca"]["key"], "");
    assert!(of_kind(&read, "Layer2VIPConfig").is_empty());
    let EncryptionSecret::Secretbox(secretbox) = &bundle.encryption else { panic!("new bundles use secretbox") };
    let authorities =
        [&bundle.os, &bundle.etcd, &bundle.kubernetes, &bundle.aggregator].map(|authority| &authority.key);
    for secret in authorities.into_iter().chain([&bundle.service_account_key, secretbox]) {
        for form in [secret.expose().clone(), STANDARD.encode(secret.expose())] {
            assert!(!text.contains(&form), "a worker carries a control plane's secret");
        }
    }
    // What it needs to join is there.
    for secret in [&bundle.trustd_token, &bundle.bootstrap_token, &bundle.cluster_secret] {
        assert!(text.contains(secret.expose().as_str()));
    }
}

#[test]
fn rendering_is_pure_and_reads_back_as_itself() {
    let bundle = bundle(3);
    for site in [blue(&bundle), fortress(&bundle)] {
        for role in [NodeRole::ControlPlane, NodeRole::Worker] {
            let text = rendered(&site, role);
            assert!(text == rendered(&site, role));
            let read = decode(&text).unwrap_or_else(|refusal| panic!("{refusal}"));
            assert!(read.is_complete());
            assert!(String::from_utf8_lossy(read.encode().expose()) == text);
            assert_eq!(read.validate(Rules::cloud()).expect("valid"), Vec::<String>::new());
            assert!(read.same_as(&config::rendered(&site, &target(&site, role)).expect("rendered")));
        }
    }
}

#[test]
fn longhorn_s_mount_comes_with_both_of_its_extensions() {
    let bundle = bundle(4);
    let blue = text_of("blue/proxmox/castle.yaml");
    for (extensions, wanted) in
        [("siderolabs/iscsi-tools, siderolabs/util-linux-tools", 1), ("siderolabs/iscsi-tools", 0)]
    {
        let text = blue.replace("siderolabs/iscsi-tools, siderolabs/util-linux-tools", extensions);
        let read = documents(&rendered(&site::site(&text, &bundle), NodeRole::Worker));
        let mounts = read[0]["machine"]["kubelet"]["extraMounts"].as_array().cloned().unwrap_or_default();
        assert_eq!(mounts.len(), wanted, "{extensions}");
        if let [mount] = mounts.as_slice() {
            assert_eq!((mount["source"].as_str(), mount["type"].as_str()), (Some("/var/lib/longhorn"), Some("bind")));
            assert_eq!(mount["options"], serde_json::json!(["bind", "rshared", "rw"]));
        }
    }
}

#[test]
fn the_installer_has_the_extensions_of_the_image() {
    let installer = config::installer(&blue(&bundle(4)).project).expect("plain extensions");
    assert_eq!(
        installer,
        "factory.talos.dev/nocloud-installer/613e1592b2da41ae5e265e8789429f22e121aab91cb4deb6bc3c0b6262961245:v1.13.9"
    );
}

fn patched(patches: &str) -> String {
    text_of("blue/proxmox/castle.yaml") + "\npatches:\n" + patches
}

#[test]
fn patches_of_the_declaration_come_last_each_for_its_role() {
    let bundle = bundle(5);
    let text = patched(
        "  all:
    - machine:
        sysctls: {vm.max_map_count: 262144}
        kubelet:
          extraConfig: {maxPods: 200, flag: '1'}
    - |
      apiVersion: v1alpha1
      kind: VolumeConfig
      name: STATE
      $patch: delete
      ---
      apiVersion: v1alpha1
      kind: TimeSyncConfig
      ntp: {servers: [192.168.1.1]}
  control_planes:
    - cluster: {network: {podSubnets: [10.9.0.0/16]}}
  workers:
    - machine: {nodeLabels: {rack: 012}}
",
    );
    let site = site::site(&text, &bundle);
    assert_eq!(config::check(&site.project), []);
    let control_plane = documents(&rendered(&site, NodeRole::ControlPlane));
    let worker = documents(&rendered(&site, NodeRole::Worker));
    for read in [&control_plane, &worker] {
        // A number where a text belongs keeps the form that it was written in.
        assert_eq!(read[0]["machine"]["sysctls"]["vm.max_map_count"], "262144");
        assert_eq!(read[0]["machine"]["kubelet"]["extraConfig"], serde_json::json!({"maxPods": 200, "flag": "1"}));
        assert_eq!(of_kind(read, "VolumeConfig").len(), 1);
        assert_eq!(of_kind(read, "TimeSyncConfig").len(), 1);
    }
    assert_eq!(control_plane[0]["cluster"]["network"]["podSubnets"], serde_json::json!(["10.9.0.0/16"]));
    assert_eq!(worker[0]["cluster"]["network"]["podSubnets"], serde_json::json!(["10.244.0.0/16"]));
    assert_eq!(worker[0]["machine"]["nodeLabels"]["rack"], "012");
}

#[test]
fn a_patch_that_talos_would_refuse_is_named_before_any_node_sees_it() {
    let bundle = bundle(6);
    for (patch, check, render) in [
        (
            "  all: [{machine: {sysctl: {a: hunter2}}}]",
            "patches.all[0]: document v1alpha1 (line 1): a key that is unknown to this release: `machine.sysctl`",
            "`patches.all[0]` cannot be applied: document v1alpha1 (line 1): a key that is unknown to this release \
             (`machine.sysctl`)",
        ),
        (
            "  workers: [\"- op: add\\n  path: /machine\"]",
            "patches.workers[0]: JSON6902 patches are not supported for multi-document machine configuration",
            "`patches.workers[0]` cannot be applied: JSON6902 patches are not supported for multi-document machine \
             configuration",
        ),
        (
            "  all: [{apiVersion: v1alpha1, kind: KubeletConfig, image: hunter2}]",
            "patches.all[0]: document KubeletConfig (line 1): its kind is not known to this release",
            "`patches.all[0]` cannot be applied: document KubeletConfig (line 1): its kind is not known to this release",
        ),
        (
            "  all: [{machine: {network: {hostname: {$patch: delete}}}}]",
            "",
            "`patches.all[0]` cannot be applied: patch delete: path 'machine.network.hostname' in document \
             '/v1alpha1': failed to delete path 'machine.network.hostname': lookup failed",
        ),
        (
            "  all: [{apiVersion: v1alpha1, kind: HostnameConfig, auto: stable}]",
            "",
            "Talos would refuse the configuration of blue-wk-01: 1 error occurred: * HostnameConfig: 'auto' and \
             'hostname' cannot be set at the same time",
        ),
        (
            "  workers: [{cluster: {ca: {key: aHVudGVyMg==}}}]",
            "",
            "Talos would refuse the configuration of blue-wk-01: 1 error occurred: * v1alpha1.Config: 2 errors \
             occurred: * cluster CA key is not allowed on non-controlplane nodes (.cluster.ca) * issuing Kubernetes \
             API CA key is not allowed on non-controlplane nodes (.cluster.ca)",
        ),
    ] {
        let site = site::site(&patched(patch), &bundle);
        let told: Vec<String> = config::check(&site.project).iter().map(ToString::to_string).collect();
        assert_eq!(told, if check.is_empty() { vec![] } else { vec![check] }, "{patch}");
        let error = config::render(&site, &target(&site, NodeRole::Worker)).expect_err(patch);
        assert_eq!((error.kind(), error.chain().as_str()), (ErrorKind::InvalidSpec, render), "{patch}");
        assert!(!format!("{error:?}{}", error.chain()).contains("hunter2"));
    }
}

#[test]
fn a_newer_talos_takes_patches_of_its_own_kinds() {
    let bundle = bundle(6);
    let text = patched("  all: [{apiVersion: v1alpha1, kind: SysctlConfig, params: {vm.max_map_count: 262144}}]\n");
    let newer = site::site(&text.replace("talos: v1.13.9", "talos: v1.14.0"), &bundle);
    assert_eq!(config::check(&newer.project), []);
    assert!(
        rendered(&newer, NodeRole::Worker)
            .ends_with("---\napiVersion: v1alpha1\nkind: SysctlConfig\nparams:\n    vm.max_map_count: \"262144\"\n")
    );
    assert_eq!(config::check(&site::site(&text, &bundle).project).len(), 1);
}

#[test]
fn another_contract_is_refused() {
    let text = text_of("blue/proxmox/castle.yaml").replace("contract: \"1.13\"", "contract: \"1.12\"");
    let site = site::site(&text, &bundle(6));
    assert_eq!(config::check(&site.project)[0].subject, "cluster.contract");
    let error = config::render(&site, &target(&site, NodeRole::Worker)).expect_err("not written");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.advice(), Some("set `cluster.contract` to \"1.13\""));
}

#[test]
fn the_decoder_is_as_strict_as_a_node() {
    for (text, wanted) in [
        ("", "config not found"),
        ("a\n", "expected a YAML document at line 1"),
        ("machine: {}\n---\ncluster: {}\n", "duplicate document /v1alpha1/ is not allowed (line 3)"),
        (
            "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.1\n---\nname: 10.0.0.1\nkind: Layer2VIPConfig\n\
             apiVersion: v1alpha1\n",
            "duplicate document v1alpha1/Layer2VIPConfig/10.0.0.1 is not allowed (line 5)",
        ),
        (
            "apiVersion: v1alpha1\nkind: NoSuchConfig\n",
            "error decoding document v1alpha1/NoSuchConfig/ (line 1): \"NoSuchConfig\" \"v1alpha1\": not registered",
        ),
        (
            "apiVersion: v1alpha1\nkind: SysctlConfig\n",
            "error decoding document v1alpha1/SysctlConfig/ (line 1): \"SysctlConfig\" \"v1alpha1\": not registered",
        ),
        (
            "machine:\n  kubelets: {image: x}\n  network:\n    interfaces:\n      - interface: eth0\n        ip: 1\n",
            "error decoding document /v1alpha1/ (line 1): unknown keys found during decoding:\nmachine:\n    kubelets:\n        \
             image: x\n    network:\n        interfaces:\n            - ip: 1\n",
        ),
        (
            "apiVersion: v1alpha1\nkind: ResolverConfig\nnameservers:\n  - address: 10.0.0.1\n    protocol: DoT\n",
            "error decoding document v1alpha1/ResolverConfig/ (line 1): unknown keys found during decoding:\n\
             nameservers:\n    - protocol: DoT\n",
        ),
        (
            "machine:\n  ca: {crt: '%%'}\n",
            "error decoding document /v1alpha1/ (line 1): error decoding  to *v1alpha1.Config: yaml: construct errors:\
             \n  line 2: illegal base64 data at input byte 0",
        ),
        (
            "debug: 'yes'\nmachine: []\n",
            "error decoding document /v1alpha1/ (line 1): error decoding  to *v1alpha1.Config: yaml: construct errors:\
             \n  line 1: cannot construct !!str `yes` into bool\n  line 2: cannot construct !!seq into Machine",
        ),
    ] {
        assert_eq!(decode(text).expect_err(text), wanted, "{text}");
    }
    assert_eq!(decode("debug: yes\n---\n---\n").expect("a typed boolean").len(), 1);
}

#[test]
fn no_value_is_printed() {
    let canary = "hunter2";
    for text in [
        "machine:\n  token: [hunter2]\n",
        "machine:\n  hunter2: x\n",
        "machine:\n  x: hunter2\n",
        "hunter2\n",
        "debug: hunter2\n",
        "kind: hunter2\napiVersion: v1alpha1\n",
        "kind: HostnameConfig\napiVersion: hunter2\n",
        "kind: Layer2VIPConfig\nname: hunter2\n",
        "machine: {token: 'hunter2\n",
        "kind: Layer2VIPConfig\napiVersion: v1alpha1\nname: hunter2\n---\nkind: Layer2VIPConfig\napiVersion: v1alpha1\nname: hunter2\n",
        "machine:\n  ca: {crt: hunter2, hunter2: 1}\n",
        "machine:\n  a: 1\n  a: hunter2\n  hunter2: 1\n  hunter2: 2\n",
    ] {
        let refusal =
            Config::decode(&SecretBytes::from(text.as_bytes().to_vec()), Version::V1_13).map(|_| ()).expect_err(text);
        assert!(!format!("{refusal} {refusal:?}").contains(canary), "{text}: {refusal}");
    }
    let config = decode(
        "machine:\n  type: hunter2\n  token: hunter2\ncluster:\n  controlPlane: {endpoint: 'https://hunter2:x'}\n",
    )
    .expect("read");
    let refusal = config.validate(Rules::cloud()).expect_err("unknown type");
    assert!(refusal.talos_text().expose().contains("unknown machine type \"hunter2\""));
    assert!(
        !format!("{refusal} {refusal:?} {config:?} {:?}", config.findings(Rules::cloud())).contains(canary),
        "{refusal}"
    );
}

/// Patches `base` and returns what is written.
fn merged(base: &str, patch: &str) -> Result<String, String> {
    let config = decode(base)?.patched(patch).map_err(|refusal| refusal.to_string())?;
    Ok(String::from_utf8_lossy(config.encode().expose()).into_owned())
}

#[test]
fn merging_follows_talos() {
    let root = |machine: &str| {
        format!(
            "version: v1alpha1\nmachine:\n    type: \"\"\n    token: \"\"\n    certSANs: []\n{machine}cluster: null\n"
        )
    };
    for (base, patch, wanted) in [
        // Texts replace unless empty, booleans always, lists grow.
        (
            "version: v1alpha1\ndebug: true\nmachine: {}\n",
            "debug: false\nversion: ''\n",
            root("").replacen('\n', "\ndebug: false\n", 1),
        ),
        (
            "version: v1alpha1\nmachine: {udev: {rules: [a]}, sysctls: {a: '1', b: '2'}}\n",
            "machine: {udev: {rules: [a, b]}, sysctls: {a: '3', c: 4}}\n",
            root(
                "    sysctls:\n        a: \"3\"\n        b: \"2\"\n        c: \"4\"\n    udev:\n        rules:\n            - a\n            - a\n            - b\n",
            ),
        ),
        // Items with a key are merged, by number too.
        (
            "version: v1alpha1\nmachine: {network: {interfaces: [{interface: e, vlans: [{vlanId: 5, mtu: 1}]}]}}\n",
            "machine: {network: {interfaces: [{interface: e, vlans: [{vlanId: 5, dhcp: true}, {vlanId: 6}]}]}}\n",
            root(
                "    network:\n        interfaces:\n            - interface: e\n              vlans:\n                - routes: []\n                  dhcp: true\n                  vlanId: 5\n                  mtu: 1\n                - routes: []\n                  vlanId: 6\n",
            ),
        ),
        // Free YAML keeps what every scalar is.
        (
            "version: v1alpha1\nmachine: {kubelet: {extraConfig: {a: {b: 1}, l: [1]}}}\n",
            "machine: {kubelet: {extraConfig: {a: {c: '1', d: off}, l: ['2']}}}\n",
            root(
                "    kubelet:\n        extraConfig:\n            a:\n                b: 1\n                c: \"1\"\n                d: \"off\"\n            l:\n                - 1\n                - \"2\"\n",
            ),
        ),
        // A whole document is deleted and written anew in one patch.
        (
            "apiVersion: v1alpha1\nkind: ResolverConfig\nnameservers: [{address: 10.0.0.1}]\n",
            "apiVersion: v1alpha1\nkind: ResolverConfig\n$patch: delete\n---\napiVersion: v1alpha1\nkind: ResolverConfig\nnameservers: [{address: 10.0.0.2}]\n",
            "apiVersion: v1alpha1\nkind: ResolverConfig\nnameservers:\n    - address: 10.0.0.2\n".to_owned(),
        ),
    ] {
        assert_eq!(merged(base, patch).as_deref(), Ok(wanted.as_str()), "{patch}");
    }
}

#[test]
fn deletions_that_mean_nothing_are_refused() {
    let base = "version: v1alpha1\nmachine: {network: {interfaces: [{interface: e, vlans: [{vlanId: 5}]}]}, sysctls: {a: b}}\n";
    for (patch, wanted) in [
        ("machine: {sysctls: {b: {$patch: delete}}}", "failed to delete path 'machine.sysctls.b': lookup failed"),
        ("machine: {network: {interfaces: [{interface: f, $patch: delete}]}}", "lookup failed"),
        ("machine: {network: {interfaces: [{$patch: delete}]}}", "no key:val found in sequence node"),
        ("machine: {network: {interfaces: [{vlans: {$patch: delete}}]}}", "cannot delete an inner key in"),
        ("kind: HostnameConfig\n$patch: delete", "missing apiVersion in document for which $patch: delete is used"),
        ("$patch: delete", "missing apiVersion in document"),
        (
            "machine: {kubelet: {extraConfig: {a: 1}}}\n---\nmachine: {kubelet: {extraConfig: {a: {b: 1}}}}",
            "merge type mismatch",
        ),
    ] {
        let error = merged(base, patch).expect_err(patch);
        assert!(error.contains(wanted), "{patch}: {error}");
    }
    assert!(merged(base, "machine: {sysctls: {a: {$patch: delete}}}").is_ok_and(|text| !text.contains("a: b")));
}

#[test]
fn a_bundle_of_an_old_cluster_keeps_its_cipher() {
    let mut bundle: SecretsBundle = bundle(9);
    bundle.encryption = EncryptionSecret::AesCbc(STANDARD.encode([7; 32]).into());
    let read = documents(&rendered(&blue(&bundle), NodeRole::ControlPlane));
    assert!(read[0]["cluster"].get("secretboxEncryptionSecret").is_none());
    assert_eq!(read[0]["cluster"]["aescbcEncryptionSecret"], STANDARD.encode([7; 32]));
}

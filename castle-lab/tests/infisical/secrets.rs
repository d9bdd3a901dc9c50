//! Secrets, batches, folders and projects.

use castle_lab::Lab;
use serde_json::{Value, json};

use crate::house::{Client, WRITER, in_lab, place};

fn check(test: impl AsyncFnOnce(&Lab, &Client) + Send) {
    in_lab(async |lab, client| {
        client.log_in(WRITER).await.ok();
        test(lab, client).await;
    });
}

fn version(lab: &Lab, name: &str) -> Option<u64> {
    lab.with_world(|world| world.infisical.version("castle", "prod", "/apps", name))
}

fn value(lab: &Lab, name: &str) -> Option<String> {
    lab.with_world(|world| world.infisical.value("castle", "prod", "/apps", name).map(str::to_owned))
}

fn names(answer: &Value) -> Vec<&str> {
    answer["secrets"].as_array().unwrap().iter().map(|secret| secret["secretKey"].as_str().unwrap()).collect()
}

#[test]
fn a_project_is_found_by_its_slug() {
    check(async |_, client| {
        for path in ["/api/v1/projects/slug/castle", "/api/v1/workspace/slug/castle"] {
            let answer = client.ask("GET", path, json!({})).await;
            assert_eq!((&answer.ok()["id"], &answer.body["slug"]), (&json!(client.project()), &json!("castle")));
            assert_eq!(answer.body["environments"][0]["slug"], "prod");
        }
        let answer = client.ask("GET", "/api/v1/projects/slug/other", json!({})).await;
        answer.refused(404, "NotFound", "Project with slug 'other' not found");
        let answer = client.ask("GET", "/api/v9/everything", json!({})).await;
        answer.refused(404, "NotFound", "Route GET:/api/v9/everything not found");
    });
}

#[test]
fn a_secret_is_made_changed_and_removed() {
    check(async |lab, client| {
        let made =
            client.apps("POST", "/api/v4/secrets/TOKEN", json!({ "secretValue": "one", "secretComment": "c" })).await;
        let secret = &made.ok()["secret"];
        for (field, expected) in [
            ("secretKey", json!("TOKEN")),
            ("secretValue", json!("one")),
            ("secretComment", json!("c")),
            ("secretPath", json!("/apps")),
            ("environment", json!("prod")),
            ("workspace", json!(client.project())),
            ("version", json!(1)),
            ("type", json!("shared")),
            ("secretValueHidden", json!(false)),
        ] {
            assert_eq!(secret[field], expected, "{field}");
        }
        let again = client.apps("POST", "/api/v4/secrets/TOKEN", json!({ "secretValue": "two" })).await;
        again.refused(400, "BadRequest", "Secret already exist");
        assert_eq!(version(lab, "TOKEN"), Some(1));
        let changed = client.apps("PATCH", "/api/v4/secrets/TOKEN", json!({ "secretValue": "two" })).await;
        assert_eq!(changed.ok()["secret"]["version"], 2);
        let first = client.apps("GET", "/api/v4/secrets/TOKEN", json!({ "version": "1" })).await;
        assert_eq!(first.ok()["secret"]["secretValue"], "one");
        let renamed = client.apps("PATCH", "/api/v4/secrets/TOKEN", json!({ "newSecretName": "RENAMED" })).await;
        assert_eq!(renamed.ok()["secret"]["secretKey"], "RENAMED");
        assert_eq!((value(lab, "RENAMED").as_deref(), version(lab, "TOKEN")), (Some("two"), None));
        let taken = client.apps("PATCH", "/api/v4/secrets/RENAMED", json!({ "newSecretName": "BLOG" })).await;
        taken.refused(400, "BadRequest", "Secret with the new name already exist");
        assert_eq!(client.apps("DELETE", "/api/v4/secrets/RENAMED", json!({})).await.ok()["secret"]["version"], 3);
        assert_eq!(version(lab, "RENAMED"), None);
    });
}

#[test]
fn what_is_missing_is_named() {
    check(async |_, client| {
        for method in ["GET", "PATCH", "DELETE"] {
            let answer = client.apps(method, "/api/v4/secrets/NONE", json!({ "secretValue": "x" })).await;
            answer.refused(404, "NotFound", "Secret with name NONE not found");
        }
        let nowhere = json!({ "secretPath": "/no/where/", "secretValue": "x" });
        let text = "Folder with path '/no/where' in environment with slug 'prod' not found";
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            client.apps(method, "/api/v4/secrets/NONE", nowhere.clone()).await.refused(404, "NotFound", text);
        }
        assert_eq!(client.apps("GET", "/api/v4/secrets", nowhere).await.ok()["secrets"], json!([]));
        let other = json!({ "projectId": "unknown" });
        let text = "Project with ID 'unknown' not found";
        client.apps("GET", "/api/v4/secrets", other).await.refused(404, "NotFound", text);
    });
}

#[test]
fn what_is_wrong_in_a_request_is_a_list() {
    check(async |_, client| {
        let required = |places: &[&str]| {
            places.iter().map(|place| ((*place).to_owned(), "Required".to_owned())).collect::<Vec<_>>()
        };
        let answer = client.ask("GET", "/api/v4/secrets", json!({})).await;
        assert_eq!(answer.invalid(), required(&["projectId", "environment"]));
        assert_eq!(client.apps("POST", "/api/v4/secrets/A", json!({})).await.invalid(), required(&["secretValue"]));
        let answer = client.apps("POST", "/api/v4/secrets/A%20b:c", json!({ "secretValue": "x" })).await;
        let words = ["Secret name cannot contain spaces.", "Secret name cannot contain colon."];
        assert_eq!(answer.invalid(), words.map(|word| ("secretName".to_owned(), word.to_owned())));
        let batch = json!({ "secrets": [{ "secretKey": "A", "secretValue": "x" }, { "secretValue": "y" }] });
        let answer = client.apps("POST", "/api/v4/secrets/batch", batch).await;
        assert_eq!(answer.invalid(), required(&["secrets.1.secretKey"]));
        let answer = client.apps("PATCH", "/api/v4/secrets/batch", json!({ "mode": "maybe", "secrets": [] })).await;
        assert_eq!(answer.invalid()[0].0, "mode");
        let answer = client.apps("POST", "/api/v2/folders", json!({ "path": "/", "name": "a/b" })).await;
        assert_eq!(answer.invalid()[0].0, "name");
    });
}

#[test]
fn values_are_trimmed_and_every_write_is_a_version() {
    check(async |lab, client| {
        for (given, kept) in [("  x \n\n", "x\n"), ("x\n", "x\n"), ("x", "x")] {
            client.apps("PATCH", "/api/v4/secrets/BLOG", json!({ "secretValue": given })).await.ok();
            assert_eq!(value(lab, "BLOG").as_deref(), Some(kept));
        }
        let writes = lab.with_world(|world| world.infisical.writes().to_vec());
        let told: Vec<_> = writes.iter().map(|write| (write.version, write.differs)).collect();
        assert_eq!(told, [(1, true), (2, true), (3, false), (4, true)]);
        assert!(writes.iter().all(|write| write.place == place("/apps") && write.name == "BLOG"));
        assert_eq!(version(lab, "BLOG"), Some(4));
    });
}

#[test]
fn a_batch_is_done_whole_or_not() {
    check(async |lab, client| {
        let both = |value: &str| {
            json!({ "secrets": [
                { "secretKey": "BLOG", "secretValue": value },
                { "secretKey": "NEW", "secretValue": value },
            ]})
        };
        let with_mode = |mode: &str| {
            let mut body = both("batch");
            body["mode"] = json!(mode);
            body
        };
        let path = "/api/v4/secrets/batch";
        client.apps("POST", path, both("batch")).await.refused(400, "BadRequest", "Secret already exist");
        let missing = "Secret with name NEW not found";
        client.apps("PATCH", path, both("batch")).await.refused(404, "NotFound", missing);
        client.apps("PATCH", path, with_mode("failOnNotFound")).await.refused(404, "NotFound", missing);
        assert_eq!((version(lab, "BLOG"), version(lab, "NEW")), (Some(1), None), "nothing was done by halves");
        assert_eq!(names(client.apps("PATCH", path, with_mode("ignore")).await.ok()), ["BLOG"]);
        let answer = client.apps("PATCH", path, with_mode("upsert")).await;
        assert_eq!(names(answer.ok()), ["BLOG", "NEW"]);
        let versions: Vec<_> =
            answer.body["secrets"].as_array().unwrap().iter().map(|it| it["version"].clone()).collect();
        assert_eq!(versions, [3, 1]);
        client.apps("DELETE", path, both("")).await.ok();
        assert_eq!((version(lab, "BLOG"), version(lab, "NEW")), (None, None));
        client.apps("POST", path, both("again")).await.ok();
        assert_eq!(value(lab, "NEW").as_deref(), Some("again"));
        let twice =
            json!({ "secrets": [{ "secretKey": "A", "secretValue": "1" }, { "secretKey": "A", "secretValue": "2" }] });
        client.apps("POST", path, twice).await.refused(400, "BadRequest", "Duplicate secrets: A");
    });
}

#[test]
fn a_list_may_go_deep_and_hide_values() {
    check(async |lab, client| {
        lab.with_world(|world| world.put_secret(&place("/apps/deep/er"), "DEEP", "below"));
        assert_eq!(names(client.apps("GET", "/api/v4/secrets", json!({})).await.ok()), ["BLOG"]);
        let answer =
            client.apps("GET", "/api/v4/secrets", json!({ "recursive": "true", "viewSecretValue": "false" })).await;
        assert_eq!(names(answer.ok()), ["BLOG", "DEEP"]);
        let deep = &answer.body["secrets"][1];
        assert_eq!((&deep["secretPath"], &deep["secretValueHidden"]), (&json!("/apps/deep/er"), &json!(true)));
        assert_eq!(deep["secretValue"], "<hidden-by-infisical>");
        let everything = json!({ "secretPath": "/", "recursive": "true" });
        assert_eq!(names(client.apps("GET", "/api/v4/secrets", everything).await.ok()).len(), 2);
        let nowhere = json!({ "secretPath": "/nowhere", "recursive": "true" });
        assert_eq!(client.apps("GET", "/api/v4/secrets", nowhere).await.status, 404);
    });
}

#[test]
fn the_older_interface_does_the_same() {
    check(async |lab, client| {
        let by_slug = |more: Value| {
            let mut fields = json!({ "projectSlug": "castle", "environment": "prod", "secretPath": "/apps" });
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            fields
        };
        let query = json!({ "workspaceSlug": "castle", "environment": "prod", "secretPath": "/apps" });
        assert_eq!(names(client.ask("GET", "/api/v3/secrets/raw", query).await.ok()), ["BLOG"]);
        let query = json!({ "workspaceId": client.project(), "environment": "prod", "secretPath": "/apps" });
        assert_eq!(client.ask("GET", "/api/v3/secrets/raw/BLOG", query).await.ok()["secret"]["secretValue"], "first");
        let body = by_slug(json!({ "secretValue": "old way" }));
        client.ask("POST", "/api/v3/secrets/raw/OLD", body.clone()).await.ok();
        client.ask("POST", "/api/v3/secrets/raw/OLD", body).await.refused(400, "BadRequest", "Secret already exist");
        let body = by_slug(json!({ "mode": "upsert", "secrets": [{ "secretKey": "OLDER", "secretValue": "x" }] }));
        client.ask("PATCH", "/api/v3/secrets/batch/raw", body).await.ok();
        client.ask("DELETE", "/api/v3/secrets/raw/OLD", by_slug(json!({}))).await.ok();
        assert_eq!((version(lab, "OLD"), version(lab, "OLDER")), (None, Some(1)));
    });
}

#[test]
fn a_folder_is_made_with_everything_above_it_and_again_for_nothing() {
    check(async |lab, client| {
        let made = client.apps("POST", "/api/v2/folders", json!({ "name": "c", "path": "/a/b" })).await;
        let again = client.apps("POST", "/api/v2/folders", json!({ "name": "c", "path": "/a/b/" })).await;
        assert_eq!(made.ok()["folder"]["path"], "/a/b/c");
        assert_eq!(made.body["folder"]["id"], again.ok()["folder"]["id"]);
        let listed = async |path: &str, recursive: &str| {
            let fields = json!({ "path": path, "recursive": recursive });
            let answer = client.apps("GET", "/api/v2/folders", fields).await;
            let folders = answer.ok()["folders"].as_array().unwrap().clone();
            folders.iter().map(|folder| folder["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(listed("/", "false").await, ["/a", "/apps"]);
        assert_eq!(listed("/a", "true").await, ["/a/b", "/a/b/c"]);
        client.apps("POST", "/api/v4/secrets/X", json!({ "secretPath": "/a/b/c", "secretValue": "x" })).await.ok();
        client.apps("DELETE", "/api/v2/folders/b", json!({ "path": "/a" })).await.ok();
        assert_eq!(listed("/", "true").await, ["/a", "/apps"]);
        let gone = lab.with_world(|world| world.infisical.value("castle", "prod", "/a/b/c", "X").is_none());
        assert!(gone);
        let answer = client.apps("DELETE", "/api/v2/folders/b", json!({ "path": "/a" })).await;
        answer.refused(404, "NotFound", "Folder with ID or name 'b' not found");
        let old = json!({ "workspaceId": client.project(), "environment": "prod", "name": "v1", "directory": "/a" });
        assert_eq!(client.ask("POST", "/api/v1/folders", old).await.ok()["folder"]["path"], "/a/v1");
        let other = client.apps("POST", "/api/v2/folders", json!({ "environment": "dev", "name": "x" })).await;
        other.refused(404, "NotFound", "Environment with slug 'dev' not found");
    });
}

#[test]
fn a_change_that_needs_approval_is_not_done() {
    check(async |lab, client| {
        lab.with_world(|world| world.infisical.approvals.insert(place("/apps")));
        let value_of = json!({ "secretValue": "changed" });
        let batch = json!({ "mode": "upsert", "secrets": [{ "secretKey": "NEW", "secretValue": "x" }] });
        for (method, path, fields) in [
            ("POST", "/api/v4/secrets/NEW", &value_of),
            ("PATCH", "/api/v4/secrets/BLOG", &value_of),
            ("DELETE", "/api/v4/secrets/BLOG", &value_of),
            ("PATCH", "/api/v4/secrets/batch", &batch),
        ] {
            let answer = client.apps(method, path, fields.clone()).await;
            assert_eq!(answer.ok()["approval"]["secretPath"], "/apps", "{method} {path}");
            assert!(answer.body["secret"].is_null() && answer.body["secrets"].is_null());
        }
        assert_eq!((value(lab, "BLOG").as_deref(), version(lab, "NEW")), (Some("first"), None));
        lab.with_world(|world| world.infisical.approvals.clear());
        client.apps("PATCH", "/api/v4/secrets/BLOG", value_of).await.ok();
        assert_eq!(version(lab, "BLOG"), Some(2));
    });
}

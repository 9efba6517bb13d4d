//! Documents of small pipelines, with a stage made for the test.

use std::sync::{Arc, LazyLock};

use omnizap_contract::{
    Error, ErrorKind, Input, Kind, Options, Output, PortType, Ports, Runner, StageKind, StageSpec,
};
use serde_json::{Value as Json, json};

use super::{About, document};
use crate::pipeline::all::bind_all;
use crate::pipeline::diagnostic::SourceText;
use crate::pipeline::registry::Registry;

const ABOUT: About = About {
    wants_keys: false,
    wants_admin_keys: false,
    max_body_bytes: 1000,
    max_fields: 10,
};

/// Looks at a picture.
struct Look;

static SPEC: LazyLock<StageSpec> = LazyLock::new(|| StageSpec::new("look", "looks", []));

impl StageKind for Look {
    fn spec(&self) -> &StageSpec {
        &SPEC
    }

    fn ports(&self, _: &Options) -> Ports {
        let mut seen = Output::new("seen", PortType::Json, "what is in it").published(json!([]));
        seen.shape = r#"[{"label": "text", "weight": "number?"}]"#.parse().unwrap();
        Ports::new(
            [
                Input::required("file", PortType::Bytes, "the picture"),
                Input::optional("theme", PortType::Text, "what it is about"),
            ],
            [
                Output::new("category", PortType::Text, "the best").published(Json::Null),
                seen,
                Output::new("near", PortType::Number, "how near")
                    .optional()
                    .published(Json::Null),
            ],
        )
    }

    async fn build(&self, _: &Options) -> Result<Runner, Error> {
        Err(Error::new(ErrorKind::Internal, "it is never built"))
    }
}

fn documented(files: &[&str], about: &About) -> Json {
    let kinds: [Arc<dyn Kind>; 1] = [Arc::new(Look)];
    let registry = Registry::new(kinds).unwrap();
    let sources: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(at, text)| SourceText::new(format!("{at}.toml"), *text))
        .collect();
    let graphs = bind_all(&sources, &registry, &|_: &str| None);
    document(&graphs.unwrap_or_else(|wrong| panic!("{wrong}")), about)
}

const LOOK: &str = r#"
[pipeline]
name = "look-at"
route = "POST /look"
settings_route = "GET /look"
[request]
file = { type = "bytes", required = true, accept = ["image/*"], filename = "filename" }
theme = { type = "text", max_chars = 5 }
labels = { type = "text_list", max_items = 3, item_max_chars = 4 }
limit = { type = "integer", min = 1, max = 9, default = 5 }
[[stage]]
uses = "look"
"#;

fn properties<'d>(operation: &'d Json, media_type: &str) -> &'d Json {
    &operation["requestBody"]["content"][media_type]["schema"]["properties"]
}

#[test]
fn fields_are_parts_of_a_form_and_members_of_an_object() {
    let document = documented(&[LOOK], &ABOUT);
    assert_eq!(document["openapi"], super::VERSION);
    for (path, groups) in [
        ("/look", ["pipelines"]),
        ("/health", ["service"]),
        ("/admin/pipelines", ["administration"]),
    ] {
        let operation = &document["paths"][path]["get"];
        let mut members = operation.as_object().unwrap().values();
        assert!(members.any(|one| *one == json!(groups)), "{path}");
    }
    let look = &document["paths"]["/look"]["post"];
    assert_eq!(look["operationId"], "look_at");
    let form = properties(look, "multipart/form-data");
    assert_eq!(form["file"]["contentMediaType"], "application/octet-stream");
    assert_eq!(form["file"]["format"], "binary");
    let content = &look["requestBody"]["content"];
    let encoding = &content["multipart/form-data"]["encoding"];
    assert_eq!(encoding["file"]["contentType"], "image/*");
    assert_eq!(form["theme"]["type"], "string");
    assert_eq!(form["theme"]["maxLength"], 5);
    assert_eq!(form["theme"]["description"], "what it is about");
    assert_eq!(form["labels"]["maxItems"], 3);
    assert_eq!(form["labels"]["items"]["maxLength"], 4);
    let limit = &form["limit"];
    assert_eq!(
        (&limit["minimum"], &limit["maximum"], &limit["default"]),
        (&json!(1), &json!(9), &json!(5))
    );
    let object = properties(look, "application/json");
    assert_eq!(object["file"]["contentEncoding"], "base64");
    // What is left out may be null, but not where that would mean another value.
    assert_eq!(object["theme"]["type"], json!(["string", "null"]));
    assert_eq!(object["limit"]["type"], "integer");
    let schema = &content["application/json"]["schema"];
    assert_eq!(schema["required"], json!(["file"]));
    let example = &content["application/json"]["example"];
    assert_eq!(example["limit"], 5);
    assert!(example["file"].as_str().unwrap().starts_with("data:image"));
    let sample = look["x-codeSamples"][0]["source"].as_str().unwrap();
    assert_eq!(
        sample,
        "curl -F file=@picture.png http://127.0.0.1:8008/look"
    );
}

#[test]
fn an_answer_says_what_may_be_nothing_and_what_may_not() {
    let document = documented(&[LOOK], &ABOUT);
    let answer = |document: &Json| {
        let run = &document["paths"]["/look"]["post"]["responses"]["200"];
        run["content"]["application/json"]["schema"].clone()
    };
    let schema = answer(&document);
    assert_eq!(
        schema["required"],
        json!(["category", "seen", "near", "filename"])
    );
    let fields = &schema["properties"];
    assert_eq!(fields["category"]["type"], "string");
    assert_eq!(fields["near"]["type"], json!(["number", "null"]));
    assert_eq!(fields["filename"]["type"], json!(["string", "null"]));
    let member = &fields["seen"]["items"]["properties"];
    assert_eq!(member["weight"]["type"], json!(["number", "null"]));
    // A stage that may not run leaves what stands for nothing.
    for changed in [
        "if = \"size(theme.orValue('')) > 1\"",
        "on_error = \"skip\"",
        "run = \"on demand\"",
    ] {
        let document = documented(&[&format!("{LOOK}{changed}\n")], &ABOUT);
        let fields = &answer(&document)["properties"];
        assert_eq!(
            fields["category"]["type"],
            json!(["string", "null"]),
            "{changed}"
        );
    }
    let off = documented(&[&format!("{LOOK}enabled = false\n")], &ABOUT);
    let fields = &answer(&off)["properties"];
    assert_eq!(fields["category"]["type"], json!(["string", "null"]));
    let doc = fields["category"]["description"].as_str().unwrap();
    assert!(doc.contains("its stage is off"), "{doc}");
}

#[test]
fn every_status_is_told_with_the_body_of_all_errors() {
    let document = documented(&[LOOK], &ABOUT);
    let look = &document["paths"]["/look"]["post"]["responses"];
    for status in [
        "400", "403", "408", "413", "414", "415", "422", "429", "431", "500", "503", "504",
    ] {
        let reference = look[status]["$ref"].as_str().unwrap_or_default();
        let name = reference.strip_prefix("#/components/responses/").unwrap();
        let answer = &document["components"]["responses"][name];
        let schema = &answer["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Error", "{status}");
        let waits = !answer["headers"]["Retry-After"].is_null();
        assert_eq!(waits, ["429", "503"].contains(&status), "{status}");
    }
    assert_eq!(look["401"], Json::Null, "without keys nobody lacks one");
    assert_eq!(
        document["paths"]["/look"]["get"]["responses"]["422"],
        Json::Null
    );
}

#[test]
fn keys_are_wanted_where_they_are() {
    let keys = About {
        wants_keys: true,
        wants_admin_keys: true,
        ..ABOUT
    };
    let admin = LOOK.replace("name = \"look-at\"", "name = \"look-at\"\nadmin = true");
    let document = documented(&[LOOK], &keys);
    assert_eq!(
        document["security"],
        json!([{ "apiKey": [] }, { "bearer": [] }])
    );
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["apiKey"]["name"], "X-Api-Key");
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    let paths = &document["paths"];
    assert_eq!(paths["/health/live"]["get"]["security"], json!([]));
    assert_eq!(paths["/health/live"]["get"]["responses"]["401"], Json::Null);
    let look = &paths["/look"]["post"];
    assert_eq!(
        look["responses"]["401"]["$ref"],
        "#/components/responses/Unauthorized"
    );
    let sample = look["x-codeSamples"][0]["source"].as_str().unwrap();
    assert!(sample.contains("-H 'X-Api-Key: KEY'"), "{sample}");
    let document = documented(&[&admin], &keys);
    let look = &document["paths"]["/look"]["post"];
    assert_eq!(
        look["security"],
        json!([{ "adminKey": [] }, { "adminBearer": [] }])
    );
    let open = documented(&[LOOK], &ABOUT);
    assert_eq!(open["security"], Json::Null);
    assert_eq!(open["components"]["securitySchemes"], Json::Null);
}

#[test]
fn a_route_without_a_body_is_asked_by_its_path_and_its_query() {
    let get = r#"
[pipeline]
name = "one"
route = "GET /a/{x}"
[request]
x = { type = "integer", from = "path", required = true, min = 1 }
file = { type = "bytes" }
many = { type = "text_list" }
any = { type = "json" }
[[stage]]
uses = "look"
"#;
    let delete = get
        .replace("GET /a/{x}", "DELETE /a/{y}")
        .replace("x =", "y =")
        .replace("\"one\"", "\"o-ne\"");
    let post = "[pipeline]\nname = \"o.ne\"\nroute = \"POST /health\"\n\
                [request]\nfile = { type = \"bytes\" }\n[[stage]]\nuses = \"look\"\n";
    let document = documented(&[get, &delete, post], &ABOUT);
    let item = &document["paths"]["/a/{x}"];
    assert_eq!(
        document["paths"]["/a/{y}"],
        Json::Null,
        "it is the same path"
    );
    let one = &item["get"];
    let parameters = one["parameters"].as_array().unwrap();
    let names: Vec<_> = parameters
        .iter()
        .map(|parameter| (parameter["name"].as_str().unwrap(), &parameter["in"]))
        .collect();
    assert_eq!(
        names,
        [
            ("x", &json!("path")),
            ("many", &json!("query")),
            ("any", &json!("query")),
            ("trace", &json!("query")),
            ("X-Trace", &json!("header"))
        ]
    );
    assert_eq!(parameters[0]["required"], true);
    assert_eq!(parameters[0]["schema"]["minimum"], 1);
    assert_eq!(parameters[1]["explode"], true);
    assert!(parameters[2]["content"]["application/json"].is_object());
    let body = properties(one, "multipart/form-data");
    assert_eq!(body.as_object().unwrap().len(), 1, "a file alone: {body}");
    assert_eq!(
        one["responses"]["404"]["$ref"],
        "#/components/responses/NotFound"
    );
    assert_eq!(item["delete"]["parameters"][0]["name"], "x");
    // No two are called alike, and what the program answers there is there still.
    assert_eq!(one["operationId"], "one");
    assert_eq!(item["delete"]["operationId"], "o_ne");
    let health = &document["paths"]["/health"];
    assert_eq!(health["post"]["operationId"], "o_ne_2");
    assert_eq!(health["get"]["operationId"], "health");
}

#[test]
fn answers_and_errors_of_another_form_are_told_in_it() {
    let file = r#"
[pipeline]
name = "many"
route = "POST /many"
[request]
file = { type = "bytes", required = true, each = 4, any_name = true }
[[stage]]
uses = "look"
[response]
template = { ok = true, all = "{each}", best = "{category}", id = "no {request_id}" }
each = { at = "{index}", first = "{seen.0.label}", near = "{near}" }
each_error = [{ of = [422], template = { why = "{error.code}" } }]
error = [{ of = [422, "odd"], status = 400, template = { error = "{error.detail}" } }]
"#;
    let document = documented(&[file], &ABOUT);
    let many = &document["paths"]["/many"]["post"];
    let body = |status: &str| &many["responses"][status]["content"]["application/json"]["schema"];
    let answer = &body("200")["properties"];
    assert_eq!(answer["ok"], json!({ "const": true }));
    assert_eq!(answer["id"]["type"], "string");
    // Where every item failed it shows what stands for nothing.
    assert_eq!(answer["best"]["type"], json!(["string", "null"]));
    let item = &answer["all"]["items"]["anyOf"];
    assert_eq!(item[0]["properties"]["at"]["type"], "integer");
    assert_eq!(
        item[0]["properties"]["first"]["type"],
        json!(["string", "null"])
    );
    assert_eq!(item[1]["required"], json!(["why"]));
    assert_eq!(many["responses"]["422"], Json::Null, "it is told as 400");
    let of_400 = body("400")["anyOf"].as_array().unwrap();
    let own = of_400
        .iter()
        .find(|one| one["required"] == json!(["error"]));
    assert!(own.is_some(), "{of_400:?}");
    let form = &many["requestBody"]["content"]["multipart/form-data"]["schema"];
    assert_eq!(form["properties"]["file"]["maxItems"], 4);
    assert_eq!(form["required"], Json::Null);
    let object = &many["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(object["required"], json!(["file"]));
    assert_eq!(object["properties"]["file"]["anyOf"][1]["minItems"], 1);
}

#[test]
fn one_of_several_fields_is_told() {
    let file = LOOK.replace("[request]", "one_of = [\"labels\", \"theme\"]\n[request]");
    let document = documented(&[&file], &ABOUT);
    let look = &document["paths"]["/look"]["post"];
    let schema = &look["requestBody"]["content"]["application/json"]["schema"];
    let each = json!([{ "required": ["labels"] }, { "required": ["theme"] }]);
    assert_eq!(schema["oneOf"], each);
}

#[test]
fn what_a_client_may_not_see_is_not_in_it() {
    let text = format!(
        "# a comment of the operator\n{LOOK}if = \"theme != null && theme == ${{SECRET:-hidden}}\"\n"
    );
    let document = documented(&[&text], &ABOUT).to_string();
    for secret in ["a comment of the operator", "hidden", ".toml"] {
        assert!(!document.contains(secret), "{secret}");
    }
}

#[test]
fn every_route_of_the_program_is_told_or_belongs_to_a_page() {
    let document = documented(&[LOOK], &ABOUT);
    for own in crate::pipeline::config::OwnRoute::ALL {
        let method = own.method().to_ascii_lowercase();
        let told = &document["paths"][own.path()][&method];
        let is_of_page = own.path().matches('/').count() > 1 && told.is_null();
        assert!(
            is_of_page || told["responses"]["200"].is_object(),
            "{own:?}"
        );
        if told.is_object() {
            let content = &told["responses"]["200"]["content"];
            let mut types = content.as_object().unwrap().values();
            assert!(
                types.all(|one| one["schema"] != json!({})),
                "{own:?} is not described"
            );
        }
    }
}

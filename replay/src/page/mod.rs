//! The console: one page, its style and its scripts, part of the binary. No build step, no other host.

use crate::api::Api;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Path, media type, content.
const ASSETS: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("index.html")),
    ("/console/console.css", CSS, include_str!("console.css")),
    ("/console/console.js", JS, include_str!("console.js")),
    ("/console/client.js", JS, include_str!("client.js")),
    ("/console/element.js", JS, include_str!("element.js")),
    ("/console/search.js", JS, include_str!("search.js")),
    ("/console/player.js", JS, include_str!("player.js")),
    ("/console/session.js", JS, include_str!("session.js")),
    ("/console/holds.js", JS, include_str!("holds.js")),
    ("/console/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The routes of the console. They are open: they hold nothing of the record.
pub(crate) fn router() -> Router<Api> {
    ASSETS.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(move || async move { asset(kind, content) }))
    })
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for (path, _, content) in ASSETS {
            // An XML namespace is a name, not an address that is fetched.
            let content = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("http://") && !content.contains("https://"), "{path}");
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick="]
            {
                assert!(!content.contains(forbidden), "{path} has {forbidden}");
            }
        }
        let scripts = ASSETS[0].2.matches("<script").count();
        assert_eq!(ASSETS[0].2.matches("<script type=\"module\" src=\"/console/").count(), scripts);
    }
}

//! How the API says no: `application/problem+json` (RFC 9457) with what is wrong and what to do about it.

use crate::sources::{SearchError, Unavailable};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One refusal or failure, as the client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    action: String,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    action: &'a str,
}

impl Problem {
    /// A problem: its title in a few words, what is wrong here, and what the reader can do.
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<String>, action: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), action: action.into(), header: None }
    }

    /// 400: the request is not understood.
    pub fn request(detail: impl Into<String>, action: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The request is not understood", detail, action)
    }

    /// 401, with the challenge that RFC 6750 asks for.
    pub fn unauthenticated(detail: impl Into<String>, token_given: bool) -> Self {
        let action = "Send a valid token of a configured issuer: `Authorization: Bearer <token>`.";
        let challenge =
            if token_given { r#"Bearer realm="postern", error="invalid_token""# } else { r#"Bearer realm="postern""# };
        let problem = Self::new(StatusCode::UNAUTHORIZED, "You are not known here", detail, action);
        problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// 403: the group that is missing.
    pub fn forbidden(name: &str, group: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "You may not read the record",
            format!("{name} is not in the group {group}."),
            format!("Ask the owner of the issuer to add you to the group {group}, then fetch a new token."),
        )
    }

    /// 404: no such session.
    pub fn no_session(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "No such session",
            format!("The archive holds no session {id}."),
            "Look for it in the list of sessions. A session that has just begun appears within seconds.",
        )
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// All of it in one line, for whoever gets no JSON.
    pub fn text(&self) -> String {
        format!("{}: {} {}", self.title, self.detail, self.action)
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some(Box::new((name, value))), ..self }
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        match &error {
            Unavailable::Failed { .. } => {
                // Paths and addresses are for the operator's log, not for the answer.
                tracing::error!(error = %crate::telemetry::chain(&error), "a source failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The record cannot be read now",
                    format!("{error} failed."),
                    "Try again. If it stays so, the log of this node has the cause.",
                )
            }
            Unavailable::TooLarge { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "The answer is too large",
                format!("{error}."),
                "Export the session with `postern session export`, or raise api.answer_limit_bytes.",
            ),
            Unavailable::Withheld { reason } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "The record does not hold these bytes in the clear",
                reason.clone(),
                "Read the session's events: they show what is kept of each payload.",
            ),
        }
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Question { reason } => Self::request(
                format!("The question is not understood: {reason}"),
                "Ask `who read card_number`, use fields as in `identity:billing-bot verdict:deny`, or words of the SQL text.",
            ),
            SearchError::Index(source) => source.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            action: &self.action,
        };
        // Five strings and a number: serializing them cannot fail.
        let text = serde_json::to_string(&body).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], text).into_response();
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

//! cloudTokens (contract aliyun §3).

use std::sync::Arc;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Aliyun;
use super::auth::TokenCall;
use super::params::{Body, required, text};
use super::reply::{Code, Envelope, Failure, Reply};
use crate::domain::Project;
use crate::domain::token::CLOUD_TOKEN_LIFE;

pub fn routes() -> OpenApiRouter<Arc<Aliyun>> {
    OpenApiRouter::new().routes(routes!(cloud_token)).routes(routes!(refresh_cloud_token))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenParams {
    /// `project`.
    #[serde(default, deserialize_with = "text")]
    grant_type: Option<String>,
    /// The project's id.
    #[serde(default, deserialize_with = "text")]
    res: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    /// 32 hex digits.
    cloud_token: String,
    /// Milliseconds.
    expire_in: i64,
    /// The same under the name that other pages of the vendor have.
    expires_in: i64,
    /// The same for every token of a project.
    isolation_id: String,
}

/// A new cloudToken. The one before is no longer accepted, unless the project keeps them. `expireIn` and `expiresIn` are the same.
#[utoipa::path(post, path = "/cloud/token", tag = "token", request_body = Body<TokenParams>,
    responses((status = 200, body = Envelope<TokenView>)))]
async fn cloud_token(call: TokenCall) -> Reply {
    let params: TokenParams = call.params()?;
    if required(params.grant_type, "grantType")? != "project" {
        return Err(Failure::new(Code::PARAM, "grantType must be project"));
    }
    if required(params.res, "res")? != call.project.aliyun_project_id {
        return Err(Failure::new(Code::FORBIDDEN, "res must be the id of the AppKey's own project"));
    }
    let token = call.cloud().grant_cloud_token(&call.project).await?;
    answer(&call, token)
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RefreshParams {
    /// The valid token.
    #[serde(default, deserialize_with = "text")]
    cloud_token: Option<String>,
}

/// A new cloudToken for a valid one, which stays valid for five more minutes at most, as do all others unless the
/// project keeps them.
#[utoipa::path(post, path = "/cloud/token/refresh", tag = "token", request_body = Body<RefreshParams>,
    responses((status = 200, body = Envelope<TokenView>)))]
async fn refresh_cloud_token(call: TokenCall) -> Reply {
    let params: RefreshParams = call.params()?;
    let token = required(params.cloud_token, "cloudToken")?;
    let token = call.cloud().refresh_cloud_token(&call.project, &token).await?;
    answer(&call, token)
}

fn answer(call: &TokenCall, cloud_token: String) -> Reply {
    let expire_in = call.project.life(CLOUD_TOKEN_LIFE, call.cloud().now_ms()).0;
    let isolation_id = format!("a103{}", &constant(&call.project, "isolation")[..12]);
    call.answer(TokenView { cloud_token, expire_in, expires_in: expire_in, isolation_id })
}

/// The tenant's id in the vendor's form: 32 upper-case hex digits. It never changes for a project.
pub fn tenant_id(project: &Project) -> String {
    constant(project, "tenant").to_ascii_uppercase()
}

fn constant(project: &Project, purpose: &str) -> String {
    crate::hex::encode(Md5::digest(format!("{purpose} {}", project.aliyun_project_id)))
}

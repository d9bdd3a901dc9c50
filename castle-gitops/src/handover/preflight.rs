//! What would stop a handover at its end, looked for before the first machine goes.

use castle_core::{Error, Problem, Result, Retry};

use crate::seed::Origins;

/// Everything that is wrong with credentials, repository and seed. The seed is read
/// once the branch is; of its manifests the first that is bad is told.
///
/// # Errors
///
/// What may answer later.
pub(super) async fn problems(origins: Result<Origins>) -> Result<Vec<Problem>> {
    let origins = match origins {
        Ok(origins) => origins,
        Err(error) => return Ok(vec![problem("gitops-repository", "gitops.repository", &error)]),
    };
    let mut problems = Vec::new();
    for part in &origins.spec.seed {
        if let Err(error) = origins.secret(*part) {
            problems.push(problem("gitops-credentials", "gitops.seed", &error.into()));
        }
    }
    let found = match origins.reader.head(&origins.spec.repository.branch).await.map_err(Error::from) {
        Ok(commit) => origins.seed(&commit).await.map(drop).map_err(|error| ("gitops-seed", "gitops.seed", error)),
        Err(error) => Err(("gitops-repository", "gitops.repository", error)),
    };
    match found {
        Ok(()) => Ok(problems),
        Err((_, _, error)) if error.retry_class() != Retry::Never => Err(error),
        Err((code, subject, error)) => {
            problems.push(problem(code, subject, &error));
            Ok(problems)
        }
    }
}

fn problem(code: &'static str, subject: &str, error: &Error) -> Problem {
    let problem = Problem::error(code, subject, error.chain());
    match error.advice() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

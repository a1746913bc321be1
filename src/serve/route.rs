//! What can be asked for.

/// A route of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    Recommend,
    Chat,
    Models,
    Catalogue,
    Reload,
    Health,
    Metrics,
    Page,
    /// Everything else.
    Unknown,
}

impl Route {
    pub const ALL: [Route; 9] = [
        Route::Recommend,
        Route::Chat,
        Route::Models,
        Route::Catalogue,
        Route::Reload,
        Route::Health,
        Route::Metrics,
        Route::Page,
        Route::Unknown,
    ];

    pub fn of(path: &str) -> Route {
        match path {
            "/v1/recommend" => Route::Recommend,
            "/v1/chat/completions" => Route::Chat,
            "/v1/models" => Route::Models,
            "/v1/catalogue" => Route::Catalogue,
            "/v1/reload" => Route::Reload,
            "/health" | "/health/live" | "/health/ready" => Route::Health,
            "/metrics" => Route::Metrics,
            "/" => Route::Page,
            other if other.starts_with("/v1/models/") => Route::Models,
            _ => Route::Unknown,
        }
    }

    /// Its name in the log and the metrics: never what the caller wrote.
    pub fn label(self) -> &'static str {
        match self {
            Route::Recommend => "/v1/recommend",
            Route::Chat => "/v1/chat/completions",
            Route::Models => "/v1/models",
            Route::Catalogue => "/v1/catalogue",
            Route::Reload => "/v1/reload",
            Route::Health => "/health",
            Route::Metrics => "/metrics",
            Route::Page => "/",
            Route::Unknown => "unknown",
        }
    }

    pub fn methods(self) -> &'static str {
        match self {
            Route::Recommend | Route::Chat | Route::Reload => "POST",
            Route::Catalogue => "GET, HEAD, POST",
            Route::Models | Route::Health | Route::Metrics | Route::Page | Route::Unknown => "GET, HEAD",
        }
    }

    /// The page and the health are open: the page asks for the token itself, and health says nothing of the data.
    pub fn is_open(self) -> bool {
        match self {
            Route::Health | Route::Page | Route::Unknown => true,
            Route::Recommend | Route::Chat | Route::Models | Route::Catalogue | Route::Reload | Route::Metrics => false,
        }
    }
}

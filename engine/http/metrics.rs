//! What is counted of requests, and the answer to a scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value as Json;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::health;
use super::limits::open_files;
use super::reply::Response;
use super::spans::Begun;
use crate::live::{Generation, Live};
use crate::metrics::{Families, Format, PipelineMeters, RouteMeters, process};
use crate::pipeline::Pipeline;
use crate::pipeline::config::{OwnRoute, Route};

/// The route of a request that is meant for none.
const OTHER: &str = "other";

/// The requests of all routes.
pub(super) struct Meters {
    /// Those of the program itself, in their order.
    own: Vec<RouteMeters>,
    other: RouteMeters,
    /// Requests whose client went away before the answer.
    abandoned: AtomicU64,
}

/// A request that is counted once it is answered, or dropped.
pub(super) struct Timed<'m> {
    meters: &'m Meters,
    method: &'m str,
    begun: Instant,
    routed: Routed,
    /// Where it is collected too.
    collected: Option<Begun>,
    is_answered: bool,
}

/// Whose requests a request counts among.
enum Routed {
    Own(OwnRoute),
    Run(Arc<PipelineMeters>),
    Settings(Arc<PipelineMeters>),
    Other,
}

impl Default for Meters {
    fn default() -> Self {
        let own: Vec<_> = OwnRoute::ALL
            .iter()
            .map(|_| RouteMeters::default())
            .collect();
        for (route, meters) in OwnRoute::ALL.iter().zip(&own) {
            meters.expect(route.method());
        }
        Self {
            own,
            other: RouteMeters::default(),
            abandoned: AtomicU64::new(0),
        }
    }
}

impl Meters {
    /// A request that comes now.
    pub(super) fn begin<'m>(&'m self, method: &'m str, collected: Option<Begun>) -> Timed<'m> {
        Timed {
            meters: self,
            method,
            begun: Instant::now(),
            routed: Routed::Other,
            collected,
            is_answered: false,
        }
    }

    /// `GET /metrics`.
    pub(super) fn scrape(
        &self,
        live: &Live,
        generation: &Generation,
        budgets: &Json,
        is_ending: bool,
        headers: &HeaderMap,
    ) -> Response {
        let mut all = Families::new();
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        let help = "1; which build of the program it is.";
        all.gauge("omnizap_build_info", help, &build, 1.0);
        process::tell(&mut all, open_files());
        let is_ready = health::is_ready(generation.pipelines(), is_ending);
        let help = "1 where GET /health/ready answers 200, 0 where it answers 503.";
        all.gauge("omnizap_ready", help, &[], f64::from(u8::from(is_ready)));
        tell_budgets(&mut all, budgets);
        live.reloads().record().numbers().tell(&mut all);
        let help = "Generations of pipelines: the one that answers, and those that end.";
        all.gauge("omnizap_generations", help, &[], live.generations() as f64);
        self.tell(&mut all, generation);
        for pipeline in generation.pipelines() {
            pipeline.tell(&mut all);
        }
        let format = format_for(headers.get(header::ACCEPT));
        // A text has room in memory.
        let text = all.text(format).unwrap_or_default();
        let mut response = Response::new(text.into());
        *response.status_mut() = StatusCode::OK;
        let content_type = HeaderValue::from_static(format.content_type());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        response
    }

    fn tell(&self, all: &mut Families, generation: &Generation) {
        for (own, meters) in OwnRoute::ALL.iter().zip(&self.own) {
            meters.tell(all, own.path());
        }
        self.other.tell(all, OTHER);
        for pipeline in generation.pipelines() {
            let (file, meters) = (&pipeline.graph.file, pipeline.meters());
            let routes = [
                (&file.route, &meters.route),
                (&file.settings_route, &meters.settings),
            ];
            for (route, meters) in routes {
                if let Some(Route { method, path }) = route.as_ref().map(|route| route.get_ref()) {
                    meters.expect(method);
                    meters.tell(all, path);
                }
            }
        }
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        let help = "Requests whose client went away before the answer was made.";
        all.total(
            "omnizap_http_requests_abandoned_total",
            help,
            &[],
            abandoned,
        );
    }
}

impl Timed<'_> {
    /// It is meant for a route of the program itself.
    pub(super) fn is_of_program(&mut self, own: OwnRoute) {
        self.routed = Routed::Own(own);
    }

    /// It is meant for a pipeline, or for its settings.
    pub(super) fn is_of(&mut self, pipeline: &Pipeline, is_settings: bool) {
        let meters = pipeline.meters().clone();
        self.routed = if is_settings {
            Routed::Settings(meters)
        } else {
            if let Some(collected) = &mut self.collected {
                collected.is_of(pipeline);
            }
            Routed::Run(meters)
        };
    }

    /// It is answered. Gives back what is collected of it.
    pub(super) fn answered(mut self, response: &Response) -> Option<Begun> {
        self.is_answered = true;
        let meters = match &self.routed {
            Routed::Own(own) => {
                // There is one for each, in this order.
                &self.meters.own[*own as usize]
            }
            Routed::Run(pipeline) => &pipeline.route,
            Routed::Settings(pipeline) => &pipeline.settings,
            Routed::Other => &self.meters.other,
        };
        let code = response.status().as_u16();
        meters.answered(self.method, code, self.begun.elapsed());
        self.collected.take()
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.meters.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Each bound, what of it is spent, and what came of that so far.
fn tell_budgets(all: &mut Families, budgets: &Json) {
    for (budget, numbers) in budgets.as_object().into_iter().flatten() {
        for (name, number) in numbers.as_object().into_iter().flatten() {
            let Some(number) = number.as_u64() else {
                continue;
            };
            let own = ("budget", budget.as_str());
            match name.as_str() {
                "now" => {
                    let help = "How much of a budget is spent now, in its own unit.";
                    all.gauge("omnizap_budget_used", help, &[own], number as f64);
                }
                "most" => {
                    let help = "How large a budget is, in its own unit.";
                    all.gauge("omnizap_budget_limit", help, &[own], number as f64);
                }
                event => {
                    let help = "What came of a budget that was spent, or of who used it up.";
                    let labels = [own, ("event", event)];
                    all.total("omnizap_budget_events_total", help, &labels, number);
                }
            }
        }
    }
}

/// What a scraper would rather have, of what there is.
fn format_for(accept: Option<&HeaderValue>) -> Format {
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let accept = accept.unwrap_or_default();
    let quality = |wanted: &str| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next()?.eq_ignore_ascii_case(wanted);
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            is_it.then(|| quality.unwrap_or(1.0_f64))
        });
        ranges.fold(0.0, f64::max)
    };
    let open = quality("application/openmetrics-text");
    if open > 0.0 && open >= quality("text/plain") {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_route_of_the_program_has_its_own_meters() {
        let places = OwnRoute::ALL.map(|own| own as usize);
        assert!(places.into_iter().eq(0..OwnRoute::ALL.len()), "{places:?}");
    }

    #[test]
    fn a_scraper_gets_what_it_would_rather_have() {
        for (accept, expected) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            // What Prometheus itself says.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,\
                     application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (
                Some("text/plain, application/openmetrics-text; q=0.5"),
                Format::Prometheus,
            ),
            (Some("application/openmetrics-text;q=0"), Format::Prometheus),
        ] {
            let value = accept.map(HeaderValue::from_static);
            assert_eq!(format_for(value.as_ref()), expected, "{accept:?}");
        }
    }

    #[test]
    fn budgets_are_told_whatever_they_are() {
        let budgets = json!({
            "connections": { "now": 2, "most": 512, "gave_way": 1 },
            "read_on": { "now": 0, "most": 256 },
            "odd": 7,
        });
        let mut all = Families::new();
        tell_budgets(&mut all, &budgets);
        let text = all.text(Format::Prometheus).unwrap();
        for wanted in [
            "omnizap_budget_used{budget=\"connections\"} 2.0\n",
            "omnizap_budget_limit{budget=\"read_on\"} 256.0\n",
            "omnizap_budget_events_total{budget=\"connections\",event=\"gave_way\"} 1\n",
        ] {
            assert!(text.contains(wanted), "no {wanted} in\n{text}");
        }
        assert!(!text.contains("odd"), "{text}");
    }

    #[test]
    fn a_request_counts_once_whether_it_is_answered_or_not() {
        let meters = Meters::default();
        let mut timed = meters.begin("GET", None);
        timed.is_of_program(OwnRoute::Live);
        timed.answered(&Response::new("".into()));
        meters
            .begin("BREW", None)
            .answered(&Response::new("".into()));
        drop(meters.begin("GET", None));
        assert_eq!(meters.abandoned.load(Ordering::Relaxed), 1);
        let mut all = Families::new();
        meters.tell(&mut all, &Generation::new(Vec::new()));
        let text = all.text(Format::Prometheus).unwrap();
        for wanted in [
            "_count{route=\"/health/live\",method=\"GET\",code=\"200\"} 1\n",
            "_count{route=\"other\",method=\"other\",code=\"200\"} 1\n",
            "_count{route=\"/metrics\",method=\"GET\",code=\"200\"} 0\n",
        ] {
            assert!(text.contains(wanted), "no {wanted} in\n{text}");
        }
    }
}

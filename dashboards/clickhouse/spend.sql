-- Spend from claudetrace's records in ClickHouse, to the picodollar and without doubles.
--
-- The records are the rows of the collector's ClickHouse exporter (its table `otel_logs`; see ../collector/config.yaml).
-- A record comes at least once, so the same `claudetrace.id` may be there twice. A batch's results read by two machines
-- have two ids but one (batch_id, custom_id), and are billed once: the first reading counts.
--
--   clickhouse-client --database claudetrace --queries-file spend.sql \
--     --param_since='2026-11-01' --param_until='2026-12-01' --param_tag=customer
--
-- The dashboard ../grafana/clickhouse.json reads the view `claudetrace_calls`.
--
-- A million records take about two seconds on two cores. Works with both forms of the table, with and without the
-- column EventName; tested with ClickHouse 26.9. Money is whole picodollars (10⁻¹² USD) and summed in 128 bits. Days are UTC.

-- name: calls
-- One row for each billable response and each call that failed, as in the ledger's own table `calls`.
CREATE OR REPLACE VIEW claudetrace_calls AS
WITH
    records AS (
        SELECT
            LogAttributes['claudetrace.id'] AS id,
            LogAttributes['claudetrace.call_id'] AS call_id,
            parseDateTime64BestEffort(LogAttributes['claudetrace.started_at'], 3, 'UTC') AS started_at,
            LogAttributes['claudetrace.source'] AS source,
            LogAttributes['claudetrace.operation'] AS operation,
            LogAttributes['claudetrace.platform'] AS platform,
            LogAttributes['claudetrace.model'] AS model,
            LogAttributes['claudetrace.outcome'] AS outcome,
            LogAttributes['claudetrace.error_type'] AS error_type,
            LogAttributes['claudetrace.batch_id'] AS batch_id,
            LogAttributes['claudetrace.custom_id'] AS custom_id,
            toInt64OrNull(LogAttributes['claudetrace.input_tokens']) AS input_tokens,
            toInt64OrNull(LogAttributes['claudetrace.cache_read_tokens']) AS cache_read_tokens,
            toInt64OrNull(LogAttributes['claudetrace.cache_write_5m_tokens']) AS cache_write_5m_tokens,
            toInt64OrNull(LogAttributes['claudetrace.cache_write_1h_tokens']) AS cache_write_1h_tokens,
            toInt64OrNull(LogAttributes['claudetrace.output_tokens']) AS output_tokens,
            toFloat64OrNull(LogAttributes['claudetrace.duration_ms']) AS duration_ms,
            toFloat64OrNull(LogAttributes['claudetrace.time_to_first_token_ms']) AS time_to_first_token_ms,
            LogAttributes['claudetrace.usage_is_final'] IN ('1', 'true') AS usage_is_final,
            toInt64OrNull(LogAttributes['claudetrace.cost_picousd']) AS cost_picousd,
            toInt64OrNull(LogAttributes['claudetrace.cache_saved_picousd']) AS cache_saved_picousd,
            LogAttributes['claudetrace.billing'] AS billing,
            -- What another organization or a subscription pays is a cost, but not a spend.
            if(
                billing = 'subscription' OR position(LogAttributes['claudetrace.cost_flags'], '"billed_to_user_profile"') > 0,
                0,
                cost_picousd
            ) AS spend_picousd,
            LogAttributes['claudetrace.cost_flags'] AS cost_flags,
            LogAttributes['claudetrace.user_id'] AS user_id,
            LogAttributes['claudetrace.session_id'] AS session_id,
            LogAttributes['claudetrace.feature'] AS feature,
            LogAttributes['claudetrace.customer'] AS customer,
            LogAttributes['claudetrace.prompt'] AS prompt,
            LogAttributes['claudetrace.agent'] AS agent,
            LogAttributes['claudetrace.project'] AS project,
            mapFilter(
                (tag, value) -> value != '',
                mapUpdate(
                    JSONExtract(LogAttributes['claudetrace.tags'], 'Map(String, String)'),
                    map(
                        'user', user_id,
                        'session', session_id,
                        'feature', feature,
                        'customer', customer,
                        'prompt', prompt
                    )
                )
            ) AS tags,
            LogAttributes['claudetrace.service'] AS service,
            LogAttributes['claudetrace.environment'] AS environment,
            LogAttributes['claudetrace.trace_id'] AS trace_id,
            if(custom_id = '', id, concat(batch_id, ' ', custom_id)) AS billed_once
        FROM otel_logs
        WHERE mapContains(LogAttributes, 'claudetrace.id')
    ),
    -- Ids are ordered by time: the first of doubles is the earliest reading. As a tuple, because `argMin` would pass
    -- over what is NULL. A query that needs few of these columns works out only those.
    once AS (
        SELECT
            min(records.id) AS id,
            argMin(tuple(records.call_id), records.id).1 AS call_id,
            argMin(tuple(records.started_at), records.id).1 AS started_at,
            argMin(tuple(records.source), records.id).1 AS source,
            argMin(tuple(records.operation), records.id).1 AS operation,
            argMin(tuple(records.platform), records.id).1 AS platform,
            argMin(tuple(records.model), records.id).1 AS model,
            argMin(tuple(records.outcome), records.id).1 AS outcome,
            argMin(tuple(records.error_type), records.id).1 AS error_type,
            argMin(tuple(records.batch_id), records.id).1 AS batch_id,
            argMin(tuple(records.custom_id), records.id).1 AS custom_id,
            argMin(tuple(records.input_tokens), records.id).1 AS input_tokens,
            argMin(tuple(records.cache_read_tokens), records.id).1 AS cache_read_tokens,
            argMin(tuple(records.cache_write_5m_tokens), records.id).1 AS cache_write_5m_tokens,
            argMin(tuple(records.cache_write_1h_tokens), records.id).1 AS cache_write_1h_tokens,
            argMin(tuple(records.output_tokens), records.id).1 AS output_tokens,
            argMin(tuple(records.duration_ms), records.id).1 AS duration_ms,
            argMin(tuple(records.time_to_first_token_ms), records.id).1 AS time_to_first_token_ms,
            argMin(tuple(records.usage_is_final), records.id).1 AS usage_is_final,
            argMin(tuple(records.billing), records.id).1 AS billing,
            argMin(tuple(records.cost_picousd), records.id).1 AS cost_picousd,
            argMin(tuple(records.cache_saved_picousd), records.id).1 AS cache_saved_picousd,
            argMin(tuple(records.spend_picousd), records.id).1 AS spend_picousd,
            argMin(tuple(records.cost_flags), records.id).1 AS cost_flags,
            argMin(tuple(records.user_id), records.id).1 AS user_id,
            argMin(tuple(records.session_id), records.id).1 AS session_id,
            argMin(tuple(records.feature), records.id).1 AS feature,
            argMin(tuple(records.customer), records.id).1 AS customer,
            argMin(tuple(records.prompt), records.id).1 AS prompt,
            argMin(tuple(records.agent), records.id).1 AS agent,
            argMin(tuple(records.project), records.id).1 AS project,
            argMin(tuple(records.tags), records.id).1 AS tags,
            argMin(tuple(records.service), records.id).1 AS service,
            argMin(tuple(records.environment), records.id).1 AS environment,
            argMin(tuple(records.trace_id), records.id).1 AS trace_id
        FROM records
        GROUP BY records.billed_once
    )
SELECT
    *,
    outcome = 'error' AND error_type != 'BudgetExceeded' AS is_failed,
    outcome = 'error' AND error_type = 'BudgetExceeded' AS is_blocked,
    -- Something is missing in its cost.
    (
        (NOT usage_is_final AND NOT multiSearchAny(cost_flags, ['"free_host"', '"replayed"']))
        OR position(cost_flags, '"retried_after_timeout"') > 0
        OR position(cost_flags, '"unpriced_component"') > 0
    ) AND cost_picousd IS NOT NULL AS is_lower_bound,
    -- A call of several responses (a fallback, a batch's results) is counted at its first.
    row_number() OVER (PARTITION BY call_id ORDER BY id) = 1 AS is_first_of_call
FROM once;

-- name: spend_by_day
SELECT
    toDate(started_at) AS day,
    countIf(is_first_of_call) AS calls,
    count() AS responses,
    countIf(cost_picousd IS NULL) AS unpriced_calls,
    countIf(is_lower_bound) AS lower_bound_calls,
    sum(toInt128(ifNull(spend_picousd, 0))) AS sum_picousd,
    toDecimal128(sum_picousd, 12) / 1000000000000 AS spend_usd
FROM claudetrace_calls
WHERE started_at >= {since:DateTime64(3, 'UTC')} AND started_at < {until:DateTime64(3, 'UTC')}
GROUP BY day
ORDER BY day;

-- name: spend_by_model
SELECT
    model,
    countIf(is_first_of_call) AS calls,
    count() AS responses,
    countIf(cost_picousd IS NULL) AS unpriced_calls,
    countIf(is_lower_bound) AS lower_bound_calls,
    sum(toInt128(ifNull(spend_picousd, 0))) AS sum_picousd,
    toDecimal128(sum_picousd, 12) / 1000000000000 AS spend_usd
FROM claudetrace_calls
WHERE started_at >= {since:DateTime64(3, 'UTC')} AND started_at < {until:DateTime64(3, 'UTC')}
GROUP BY model
ORDER BY sum_picousd DESC, model;

-- name: spend_by_tag
-- `tag` is user, session, feature, customer, prompt, or any tag of your own; calls without it come under ''.
SELECT
    tags[{tag:String}] AS value,
    countIf(is_first_of_call) AS calls,
    count() AS responses,
    countIf(cost_picousd IS NULL) AS unpriced_calls,
    countIf(is_lower_bound) AS lower_bound_calls,
    sum(toInt128(ifNull(spend_picousd, 0))) AS sum_picousd,
    toDecimal128(sum_picousd, 12) / 1000000000000 AS spend_usd
FROM claudetrace_calls
WHERE started_at >= {since:DateTime64(3, 'UTC')} AND started_at < {until:DateTime64(3, 'UTC')}
GROUP BY value
ORDER BY sum_picousd DESC, value;

-- name: doubles
-- How many records came again, and how many results of batches were read more than once.
SELECT
    count() - uniqExact(LogAttributes['claudetrace.id']) AS records_again,
    uniqExact(LogAttributes['claudetrace.id']) - (SELECT count() FROM claudetrace_calls) AS results_again
FROM otel_logs
WHERE mapContains(LogAttributes, 'claudetrace.id');

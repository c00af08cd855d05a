-- The tables and views of a ledger of version 2, as that version made them.
CREATE TABLE calls (
    id TEXT PRIMARY KEY NOT NULL,
    call_id TEXT NOT NULL,
    started_at TEXT NOT NULL
        CHECK (started_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9].[0-9][0-9][0-9]Z'),
    duration_ms REAL,
    response_ms REAL,
    time_to_first_token_ms REAL,
    operation TEXT NOT NULL,
    platform TEXT NOT NULL,
    server_address TEXT NOT NULL,
    streamed INTEGER NOT NULL,
    model_requested TEXT,
    model TEXT,
    outcome TEXT NOT NULL,
    stop_reason TEXT,
    error_type TEXT,
    http_status INTEGER,
    retries INTEGER,
    max_tokens INTEGER,
    tool_calls INTEGER,
    message_count INTEGER,
    image_count INTEGER,
    document_count INTEGER,
    tools_offered INTEGER,
    request_bytes INTEGER,
    rate_limit_headroom REAL,
    rate_limit TEXT,
    request_id TEXT,
    message_id TEXT,
    batch_id TEXT,
    custom_id TEXT,
    organization_id TEXT,
    workspace_id TEXT,
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    thinking_tokens INTEGER,
    web_search_requests INTEGER,
    service_tier TEXT,
    speed TEXT,
    inference_geo TEXT,
    usage TEXT CHECK (usage IS NULL OR json_valid(usage)),
    usage_is_final INTEGER NOT NULL,
    cost_picousd INTEGER,
    cost_usd REAL GENERATED ALWAYS AS (cost_picousd / 1e12) VIRTUAL,
    cost_parts TEXT CHECK (cost_parts IS NULL OR json_valid(cost_parts)),
    cost_flags TEXT CHECK (cost_flags IS NULL OR json_valid(cost_flags)),
    spend_picousd INTEGER GENERATED ALWAYS AS (
        CASE
            WHEN INSTR(COALESCE(cost_flags, ''), '"billed_to_user_profile"') > 0 THEN 0
            ELSE cost_picousd
        END
    ) VIRTUAL,
    pricing_terms TEXT CHECK (pricing_terms IS NULL OR json_valid(pricing_terms)),
    cache_saved_picousd INTEGER,
    rates_version TEXT,
    user_id TEXT,
    session_id TEXT,
    feature TEXT,
    customer TEXT,
    prompt TEXT,
    tags TEXT CHECK (tags IS NULL OR json_valid(tags)),
    service TEXT,
    environment TEXT,
    instance TEXT,
    trace_id TEXT,
    span_id TEXT
) STRICT;

CREATE INDEX calls_started_at ON calls (started_at);

CREATE INDEX calls_user ON calls (user_id, started_at) WHERE user_id IS NOT NULL;

CREATE INDEX calls_session ON calls (session_id, started_at) WHERE session_id IS NOT NULL;

CREATE INDEX calls_trace ON calls (trace_id) WHERE trace_id IS NOT NULL;

CREATE INDEX calls_further_rows ON calls (call_id) WHERE id <> call_id;

CREATE INDEX calls_batch_create ON calls (batch_id) WHERE operation = 'messages.batches.create';

CREATE UNIQUE INDEX calls_batch_result ON calls (batch_id, custom_id) WHERE custom_id IS NOT NULL;

CREATE TABLE segments (
    name TEXT PRIMARY KEY NOT NULL,
    loaded_bytes INTEGER NOT NULL,
    loaded_at TEXT NOT NULL
) STRICT;

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    quarantined_at TEXT NOT NULL,
    reason TEXT NOT NULL,
    line TEXT NOT NULL
) STRICT;

CREATE TABLE facts (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

CREATE VIEW cost_parts AS
WITH parts AS (
    SELECT
        calls.id AS id,
        part.key AS number,
        part.value ->> 'name' AS name,
        part.value ->> 'model' AS model,
        part.value ->> 'quantity' AS quantity,
        part.value ->> 'rate_picousd' AS rate,
        part.value ->> 'picousd' AS picousd
    FROM calls, json_each(calls.cost_parts) AS part
),
fractions AS (
    SELECT
        *,
        CASE
            WHEN TYPEOF(rate) = 'integer' THEN rate
            ELSE CAST(SUBSTR(rate, 1, INSTR(rate, '/') - 1) AS INTEGER)
        END AS numerator,
        CASE
            WHEN TYPEOF(rate) = 'integer' THEN 1
            ELSE CAST(SUBSTR(rate, INSTR(rate, '/') + 1) AS INTEGER)
        END AS denominator
    FROM parts
)
SELECT
    id,
    number,
    name,
    model,
    quantity,
    rate,
    picousd,
    denominator,
    quantity * (numerator % denominator) AS rest,
    (picousd - quantity * (numerator / denominator)) * denominator AS rounded_rest
FROM fractions;

CREATE VIEW unproven_calls AS
SELECT
    id,
    'a part is not its quantity times its rate' AS reason
FROM cost_parts
WHERE TYPEOF(quantity) <> 'integer'
    OR TYPEOF(picousd) <> 'integer'
    OR denominator IS NULL
    OR denominator <= 0
    OR TYPEOF(rest) <> 'integer'
    OR TYPEOF(rounded_rest) <> 'integer'
    OR ABS(rounded_rest - rest) > denominator - ABS(rounded_rest - rest)
    OR (ABS(rounded_rest - rest) = denominator - ABS(rounded_rest - rest) AND picousd % 2 <> 0)
UNION
SELECT
    id,
    'the cost is not the sum of its parts' AS reason
FROM calls
WHERE cost_picousd IS NOT NULL
    AND cost_picousd <> (
        SELECT
            COALESCE(SUM((value ->> 'picousd') / 1000000), 0) * 1000000
            + COALESCE(SUM((value ->> 'picousd') % 1000000), 0)
        FROM json_each(calls.cost_parts)
    );

CREATE TABLE rollup_hours (
    hour TEXT NOT NULL,
    platform TEXT NOT NULL,
    model TEXT NOT NULL,
    feature TEXT NOT NULL,
    operation TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    responses INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL,
    lower_bound_calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL,
    web_search_requests INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    spend_microusd INTEGER NOT NULL,
    spend_rest_picousd INTEGER NOT NULL,
    cache_saved_microusd INTEGER NOT NULL,
    cache_saved_rest_picousd INTEGER NOT NULL,
    PRIMARY KEY (hour, platform, model, feature, operation, outcome, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_tag_days (
    tag TEXT NOT NULL,
    day TEXT NOT NULL,
    value TEXT NOT NULL,
    platform TEXT NOT NULL,
    model TEXT NOT NULL,
    feature TEXT NOT NULL,
    responses INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    unpriced_calls INTEGER NOT NULL,
    lower_bound_calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_5m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    thinking_tokens INTEGER NOT NULL,
    web_search_requests INTEGER NOT NULL,
    tool_calls INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    spend_microusd INTEGER NOT NULL,
    spend_rest_picousd INTEGER NOT NULL,
    cache_saved_microusd INTEGER NOT NULL,
    cache_saved_rest_picousd INTEGER NOT NULL,
    PRIMARY KEY (tag, day, value, platform, model, feature)
) STRICT, WITHOUT ROWID;

CREATE VIEW measured_calls AS
SELECT
    c.id,
    c.started_at,
    SUBSTR(c.started_at, 1, 13) AS hour,
    SUBSTR(c.started_at, 1, 10) AS day,
    c.platform,
    COALESCE(c.model, '') AS model,
    COALESCE(c.feature, '') AS feature,
    c.operation,
    c.outcome,
    COALESCE(CASE WHEN c.outcome = 'ok' THEN c.stop_reason ELSE c.error_type END, '') AS reason,
    c.user_id,
    c.session_id,
    c.customer,
    c.prompt,
    c.tags,
    c.service,
    c.environment,
    1 AS responses,
    (
            c.id = c.call_id
            OR (
                NOT EXISTS (SELECT 1 FROM calls AS o WHERE o.id = c.call_id AND o.rowid < c.rowid)
                AND NOT EXISTS (
                    SELECT 1 FROM calls AS o
                    WHERE o.call_id = c.call_id AND o.id <> o.call_id AND o.rowid < c.rowid
                )
            )
        ) AS calls,
    (c.outcome = 'error' AND COALESCE(c.error_type, '') <> 'BudgetExceeded') AS errors,
    (c.cost_picousd IS NULL) AS unpriced_calls,
    (c.usage_is_final = 0 AND c.cost_picousd IS NOT NULL) AS lower_bound_calls,
    COALESCE(c.input_tokens, 0) AS input_tokens,
    COALESCE(c.cache_read_tokens, 0) AS cache_read_tokens,
    COALESCE(c.cache_write_5m_tokens, 0) AS cache_write_5m_tokens,
    COALESCE(c.cache_write_1h_tokens, 0) AS cache_write_1h_tokens,
    COALESCE(c.output_tokens, 0) AS output_tokens,
    COALESCE(c.thinking_tokens, 0) AS thinking_tokens,
    COALESCE(c.web_search_requests, 0) AS web_search_requests,
    COALESCE(c.tool_calls, 0) AS tool_calls,
    COALESCE(c.retries, 0) AS retries,
    CAST(COALESCE(c.duration_ms, 0) + 0.5 AS INTEGER) AS duration_ms,
    ((COALESCE(c.spend_picousd, 0) - (((COALESCE(c.spend_picousd, 0) % 1000000) + 1000000) % 1000000)) / 1000000) AS spend_microusd,
    (((COALESCE(c.spend_picousd, 0) % 1000000) + 1000000) % 1000000) AS spend_rest_picousd,
    ((COALESCE(c.cache_saved_picousd, 0) - (((COALESCE(c.cache_saved_picousd, 0) % 1000000) + 1000000) % 1000000)) / 1000000) AS cache_saved_microusd,
    (((COALESCE(c.cache_saved_picousd, 0) % 1000000) + 1000000) % 1000000) AS cache_saved_rest_picousd
FROM calls AS c;

CREATE VIEW call_tags AS
    SELECT id, 'user' AS tag, user_id AS value FROM calls WHERE user_id IS NOT NULL
    UNION ALL
    SELECT id, 'customer' AS tag, customer AS value FROM calls WHERE customer IS NOT NULL
    UNION ALL
    SELECT id, 'prompt' AS tag, prompt AS value FROM calls WHERE prompt IS NOT NULL
    UNION ALL
    SELECT calls.id, free.key AS tag, free.value AS value
    FROM calls, json_each(calls.tags) AS free
    WHERE free.key NOT IN ('user', 'session', 'feature', 'customer', 'prompt');

CREATE VIEW measured_call_tags AS
SELECT
    c.id,
    c.started_at,
    t.tag,
    c.day,
    t.value,
    c.platform,
    c.model,
    c.feature,
    c.responses,
        c.calls,
        c.errors,
        c.unpriced_calls,
        c.lower_bound_calls,
        c.input_tokens,
        c.cache_read_tokens,
        c.cache_write_5m_tokens,
        c.cache_write_1h_tokens,
        c.output_tokens,
        c.thinking_tokens,
        c.web_search_requests,
        c.tool_calls,
        c.retries,
        c.duration_ms,
        c.spend_microusd,
        c.spend_rest_picousd,
        c.cache_saved_microusd,
        c.cache_saved_rest_picousd
FROM measured_calls AS c JOIN call_tags AS t ON t.id = c.id;

CREATE TABLE unsent (
        id TEXT PRIMARY KEY NOT NULL,
        refused TEXT
    ) STRICT, WITHOUT ROWID;


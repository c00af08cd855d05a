CREATE TABLE calls (
    id TEXT PRIMARY KEY NOT NULL,
    call_id TEXT NOT NULL,
    started_at TEXT NOT NULL
        CHECK (started_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9].[0-9][0-9][0-9]Z'),
    duration_ms REAL,
    response_ms REAL,
    time_to_first_token_ms REAL,
    budget_wait_ms REAL,
    source TEXT NOT NULL,
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
    cache_miss_reason TEXT,
    cache_missed_input_tokens INTEGER,
    service_tier TEXT,
    speed TEXT,
    inference_geo TEXT,
    usage TEXT CHECK (usage IS NULL OR json_valid(usage)),
    usage_is_final INTEGER NOT NULL,
    billing TEXT,
    cost_picousd INTEGER,
    cost_usd REAL GENERATED ALWAYS AS (cost_picousd / 1e12) VIRTUAL,
    cost_parts TEXT CHECK (cost_parts IS NULL OR json_valid(cost_parts)),
    cost_flags TEXT CHECK (cost_flags IS NULL OR json_valid(cost_flags)),
    spend_picousd INTEGER GENERATED ALWAYS AS (
        CASE
            WHEN billing = 'subscription' THEN 0
            WHEN INSTR(COALESCE(cost_flags, ''), '"billed_to_user_profile"') > 0 THEN 0
            ELSE cost_picousd
        END
    ) VIRTUAL,
    pricing_terms TEXT CHECK (pricing_terms IS NULL OR json_valid(pricing_terms)),
    cache_saved_picousd INTEGER,
    cache_lost_picousd INTEGER,
    rates_version TEXT,
    user_id TEXT,
    session_id TEXT,
    feature TEXT,
    customer TEXT,
    prompt TEXT,
    agent TEXT,
    project TEXT,
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
CREATE INDEX calls_message ON calls (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX calls_cache_misses ON calls (started_at) WHERE cache_miss_reason IS NOT NULL;
CREATE INDEX calls_further_rows ON calls (call_id) WHERE id <> call_id;
CREATE INDEX calls_batch_create ON calls (batch_id) WHERE operation = 'messages.batches.create';
CREATE UNIQUE INDEX calls_batch_result ON calls (batch_id, custom_id) WHERE custom_id IS NOT NULL;

-- Rows that are not acknowledged yet by the receiver of records. `refused`: why it never takes this one.
CREATE TABLE unsent (
    id TEXT PRIMARY KEY NOT NULL,
    refused TEXT
) STRICT, WITHOUT ROWID;

-- By how much pricing again has changed the spend of rows, until the budgets have been told.
CREATE TABLE respent (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    picousd INTEGER NOT NULL
) STRICT;

CREATE INDEX respent_rows ON respent (id);

-- Anthropic's own figures beside the ledger's, as `claudetrace reconcile` compared them last. `scope`: the workspaces
-- and keys that were asked for. `judged` is 0 for a day that was too young.
CREATE TABLE bill (
    scope TEXT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    service_tier TEXT NOT NULL,
    speed TEXT NOT NULL,
    inference_geo TEXT NOT NULL,
    kind TEXT NOT NULL,
    our_quantity INTEGER NOT NULL,
    their_quantity INTEGER,
    our_picousd INTEGER NOT NULL,
    list_picousd INTEGER,
    billed_picousd INTEGER,
    unseen_picousd INTEGER NOT NULL,
    unpriced_picousd INTEGER NOT NULL,
    misrated_picousd INTEGER NOT NULL,
    own_prices_picousd INTEGER NOT NULL,
    only_theirs_picousd INTEGER NOT NULL,
    priority_picousd INTEGER NOT NULL,
    unbilled_quantity INTEGER NOT NULL,
    judged INTEGER NOT NULL,
    source TEXT NOT NULL,
    reconciled_at TEXT NOT NULL,
    PRIMARY KEY (scope, day, model, workspace_id, service_tier, speed, inference_geo, kind)
) STRICT, WITHOUT ROWID;

-- How far each segment of the journal is loaded: written with its rows, so that none is loaded twice.
CREATE TABLE segments (
    name TEXT PRIMARY KEY NOT NULL,
    loaded_bytes INTEGER NOT NULL,
    loaded_at TEXT NOT NULL
) STRICT;

-- Rows that the table `calls` refused, each with the reason.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    quarantined_at TEXT NOT NULL,
    reason TEXT NOT NULL,
    line TEXT NOT NULL
) STRICT;

-- `exact_from_day`: from this UTC day on the rollups equal the calls; the calls before it are pruned.
-- `ledger_id` and `writes`, which only grows: how a file that was copied over the open one is known.
CREATE TABLE facts (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

INSERT INTO facts (name, value) VALUES ('ledger_id', LOWER(HEX(RANDOMBLOB(16)))), ('writes', '0');

-- One row for each part of a cost. A rate is an integer or an exact "n/d"; it is split into its whole part and
-- `rest` / `denominator`, so that only quantity × rest and what is over the whole part have to fit in 64 bits.
CREATE VIEW cost_parts AS
WITH parts AS (
    SELECT
        calls.id AS id,
        part.key AS number,
        JSON_EXTRACT(part.value, '$.name') AS name,
        JSON_EXTRACT(part.value, '$.model') AS model,
        JSON_EXTRACT(part.value, '$.quantity') AS quantity,
        JSON_EXTRACT(part.value, '$.rate_picousd') AS rate,
        JSON_EXTRACT(part.value, '$.picousd') AS picousd
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

-- Calls whose cost is not the sum of its parts, or with a part that is not quantity × rate rounded half-even.
-- A product beyond 64 bits turns REAL in SQLite, loses its exactness, and is counted here as not proven.
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
            COALESCE(SUM(JSON_EXTRACT(value, '$.picousd') / 1000000), 0) * 1000000
            + COALESCE(SUM(JSON_EXTRACT(value, '$.picousd') % 1000000), 0)
        FROM json_each(calls.cost_parts)
    );

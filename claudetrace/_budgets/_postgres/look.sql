-- What is read of the store, also on a server that only reads.
CREATE OR REPLACE FUNCTION claudetrace.look_v1(said jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, claudetrace, pg_temp SET jit = off AS $$
DECLARE
    what text := said ->> 'what';
    id integer := said -> 'id';
    since bigint := said -> 'since';
    until bigint := said -> 'until';
    most integer := said -> 'limit';
BEGIN
    RETURN CASE what
        WHEN 'budgets' THEN (
            SELECT jsonb_agg(jsonb_build_array(b.id, b.name, b.definition, b.used_at, b.applied) ORDER BY b.id)
            FROM budgets AS b
            WHERE b.used_at > (said -> 'used_after')::bigint OR b.applied
        )
        WHEN 'totals' THEN (SELECT totals FROM totals_v1(id, said ->> 'key', since, until))
        WHEN 'keys' THEN (
            SELECT jsonb_agg(q.key ORDER BY q.used DESC, q.calls DESC)
            FROM (
                SELECT n.key, sum(n.spent + n.reserved) AS used, sum(n.spent_calls) AS calls
                FROM counters AS n
                WHERE n.budget_id = id AND n.slot BETWEEN since AND until
                GROUP BY n.key
                ORDER BY 2 DESC, 3 DESC
                LIMIT most
            ) AS q
        )
        WHEN 'spread' THEN (
            SELECT jsonb_build_array(
                count(*),
                count(*) FILTER (
                    WHERE q.spent >= (said ->> 'usd')::numeric OR q.calls >= (said ->> 'calls')::bigint
                ),
                COALESCE(sum(q.blocked), 0)
            )
            FROM (
                SELECT
                    sum(n.spent - n.granted) AS spent,
                    sum(n.spent_calls - n.granted_calls) AS calls,
                    sum(n.blocked_calls) AS blocked
                FROM counters AS n
                WHERE n.budget_id = id AND n.slot BETWEEN since AND until
                GROUP BY n.key
            ) AS q
        )
        WHEN 'alerts' THEN (
            SELECT jsonb_agg(jsonb_build_array(q.alert, q.delivered, q.channels))
            FROM (
                SELECT
                    a.alert,
                    (
                        SELECT count(*) FROM deliveries AS d WHERE d.alert_id = a.id AND d.delivered_at IS NOT NULL
                    ) AS delivered,
                    (SELECT count(*) FROM channels AS c WHERE c.since <= a.created_at) AS channels
                FROM alerts AS a
                ORDER BY a.created_at DESC, a.id DESC
                LIMIT most
            ) AS q
        )
        WHEN 'channels' THEN (
            SELECT jsonb_agg(to_jsonb(q) ORDER BY q.name)
            FROM (
                SELECT
                    c.channel AS name,
                    max(d.delivered_at) AS delivered_ms,
                    count(a.id) FILTER (WHERE d.delivered_at IS NULL) AS waiting,
                    min(a.created_at) FILTER (WHERE d.delivered_at IS NULL) AS oldest_ms,
                    (
                        array_agg(ARRAY[d.reason, d.tries::text, d.due_at::text] ORDER BY d.tries DESC, a.created_at DESC)
                        FILTER (WHERE d.delivered_at IS NULL AND d.reason IS NOT NULL)
                    )[1:1] AS failing
                FROM channels AS c
                LEFT JOIN alerts AS a ON a.created_at >= c.since AND a.created_at >= (said -> 'after_ms')::bigint
                LEFT JOIN deliveries AS d ON d.alert_id = a.id AND d.channel = c.channel
                GROUP BY c.channel
            ) AS q
        )
        WHEN 'open' THEN (
            SELECT jsonb_agg(jsonb_build_array(o.call_id, o.picousd, o.owner, o.owner <> '' AND COALESCE(w.until, 0) < now_s()))
            FROM charges AS o
            LEFT JOIN owners AS w ON w.owner = o.owner
            WHERE o.basis = 0
        )
        WHEN 'grants' THEN (
            SELECT jsonb_agg(to_jsonb(q) ORDER BY q.id DESC)
            FROM (
                SELECT g.*, b.name AS budget
                FROM grants AS g
                JOIN budgets AS b ON b.id = g.budget_id
                WHERE said -> 'id' IS NULL
                    OR g.ended_at IS NULL AND g.budget_id = (said -> 'id')::integer AND g.key = said ->> 'key'
                        AND g.slot BETWEEN (said -> 'since')::bigint AND (said -> 'until')::bigint
                ORDER BY g.id DESC
                LIMIT most
            ) AS q
        )
        WHEN 'told' THEN jsonb_build_object(
            'budgets', (SELECT jsonb_agg(jsonb_build_array(b.id, b.name, b.definition)) FROM budgets AS b),
            'fired', (SELECT jsonb_agg(jsonb_build_array(f.budget, f.mark)) FROM fired AS f),
            'alerts', (SELECT jsonb_agg(jsonb_build_array(a.id, a.alert)) FROM alerts AS a)
        )
        WHEN 'server' THEN (
            SELECT to_jsonb(m) || jsonb_build_object('server', current_setting('server_version'), 'now', now_s())
            FROM meta AS m
        )
    END;
END $$;

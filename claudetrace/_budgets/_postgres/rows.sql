-- Rows of ledgers, each once in each budget, unless its call's owner accounts for it.

-- What is held counts in its counter.
CREATE OR REPLACE FUNCTION claudetrace.count_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE counters SET held = held - old.picousd
        WHERE budget_id = old.budget_id AND key = old.key AND slot = old.slot;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE counters SET held = held + new.picousd
        WHERE budget_id = new.budget_id AND key = new.key AND slot = new.slot;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER count_held AFTER INSERT OR DELETE OR UPDATE OF picousd ON claudetrace.held
FOR EACH ROW EXECUTE FUNCTION claudetrace.count_held();

-- What is granted counts in its counter until it ends.
CREATE OR REPLACE FUNCTION claudetrace.count_granted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sign integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    UPDATE counters SET granted = granted + sign * new.picousd, granted_calls = granted_calls + sign * new.calls
    WHERE budget_id = new.budget_id AND key = new.key AND slot = new.slot
        AND (TG_OP = 'INSERT' OR old.ended_at IS NULL);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER count_granted AFTER INSERT OR UPDATE OF ended_at ON claudetrace.grants
FOR EACH ROW EXECUTE FUNCTION claudetrace.count_granted();

-- Holds a rest, of a row since a time, in a budget that wants it: until its window ends, else for a day. `bound` says
-- of each such budget whether its window rolls.
CREATE OR REPLACE FUNCTION claudetrace.hold_v1(rest jsonb, bound jsonb, of_budget integer, of_key text, of_slot bigint)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO held (row_id, budget_id, key, slot, picousd, until)
    SELECT rest ->> 'row', of_budget, of_key, of_slot, (rest -> 'usd')::numeric, time.until
    FROM counters AS n,
        LATERAL (
            SELECT CASE
                WHEN (bound -> of_budget::text)::boolean OR n.ends IS NULL THEN (rest -> 'at')::bigint + 86400
                ELSE n.ends
            END
        ) AS time (until)
    WHERE bound ? of_budget::text AND time.until > now_s()
        AND n.budget_id = of_budget AND n.key = of_key AND n.slot = of_slot
    ON CONFLICT (row_id, budget_id) DO NOTHING
$$;

-- Charges one result of a batch in place of its share of what the batch has set aside, which may be for another key.
CREATE OR REPLACE FUNCTION claudetrace.take_share_v1(of claudetrace.charges, of_key text, told numeric) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    share numeric := CASE WHEN of.calls <= 1 THEN of.picousd ELSE div(of.picousd, of.calls) END;
    call bigint := least(1, of.calls);
BEGIN
    UPDATE counters SET reserved = reserved - share, reserved_calls = reserved_calls - call
    WHERE budget_id = of.budget_id AND key = of.key AND slot = of.slot;
    INSERT INTO counters AS n (budget_id, key, slot, ends, spent, spent_calls)
    SELECT of.budget_id, of_key, of.slot, c.ends, COALESCE(told, share), 1
    FROM counters AS c
    WHERE c.budget_id = of.budget_id AND c.key = of.key AND c.slot = of.slot
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET
        spent = n.spent + excluded.spent, spent_calls = n.spent_calls + excluded.spent_calls;
    -- What is used up stays: should the reservation be sent again.
    UPDATE charges
    SET
        picousd = picousd - share,
        calls = calls - call,
        basis = CASE WHEN calls > call THEN 0 ELSE 3 END,
        batch_id = CASE WHEN calls > call THEN batch_id END
    WHERE call_id = of.call_id AND item = '' AND budget_id = of.budget_id;
END $$;

-- What a batch has set aside in a budget for a result: for its own key, else for the key that most is left for.
CREATE OR REPLACE FUNCTION claudetrace.of_batch_v1(batch text, of_budget integer, of_key text)
RETURNS claudetrace.charges LANGUAGE sql STABLE AS $$
    SELECT * FROM charges AS c
    WHERE c.batch_id = batch AND c.budget_id = of_budget
    ORDER BY c.key = of_key DESC NULLS LAST, c.picousd DESC
    LIMIT 1
$$;

-- A batch that set something aside for each of several has that under ids that begin with the call's.
CREATE OR REPLACE FUNCTION claudetrace.hold_batch_v1(call text, batch text) RETURNS void LANGUAGE sql AS $$
    UPDATE charges SET batch_id = batch, owner = ''
    WHERE (call_id = call OR call_id BETWEEN call || '/' AND call || '/:') AND item = '' AND basis = 0
$$;

-- One row of a ledger, in each budget that it is under (the claims) or in which its call is charged. `usd`: what it
-- adds to spend; `told`: the same where it tells; `rest`: what its cut stream can cost, held in the budgets `bound`.
-- A result of a batch has the batch as its call, `of` what it was read by.
CREATE OR REPLACE FUNCTION claudetrace.take_v1(step jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own text := COALESCE(step ->> 'of', step ->> 'call');
    told numeric := step ->> 'told';
    batch text := CASE WHEN step ->> 'kind' = 'result' THEN step ->> 'batch' END;
    each record;
    mine charges;
BEGIN
    IF step ->> 'kind' = 'create' AND step ->> 'batch' <> '' THEN
        -- Its owner may have died in between: the batch goes on, and what it reserved with it.
        PERFORM hold_batch_v1(own, step ->> 'batch');
    END IF;
    FOR each IN
        SELECT ids.id, c.k, c.s
        FROM (
            SELECT b AS id FROM claims_v1(step)
            UNION SELECT budget_id FROM charges WHERE call_id = own AND item = ''
            UNION SELECT budget_id FROM charges WHERE batch_id = batch
        ) AS ids
        LEFT JOIN claims_v1(step) AS c ON c.b = ids.id
        ORDER BY ids.id
    LOOP
        SELECT * INTO mine FROM charges WHERE call_id = own AND item = '' AND budget_id = each.id;
        each.k := COALESCE(mine.key, each.k);
        IF mine.call_id IS NULL AND batch IS NOT NULL THEN
            mine := of_batch_v1(batch, each.id, each.k);
            each.k := COALESCE(each.k, mine.key);
        END IF;
        each.s := COALESCE(mine.slot, each.s);
        IF mine.basis IS DISTINCT FROM 3 THEN
            INSERT INTO charges (call_id, item, budget_id, key, slot, basis, picousd, calls, at)
            VALUES (
                step ->> 'call', step ->> 'item', each.id, each.k, each.s, 2,
                CASE WHEN mine.call_id IS NULL THEN (step ->> 'usd')::numeric ELSE told END,
                (step ->> 'calls')::bigint, now_s()
            )
            ON CONFLICT DO NOTHING;
            IF FOUND THEN
                IF mine.call_id IS NULL THEN
                    UPDATE counters
                    SET
                        spent = spent + COALESCE((step ->> 'usd')::numeric, 0),
                        spent_calls = spent_calls + (step ->> 'calls')::bigint
                    WHERE budget_id = each.id AND key = each.k AND slot = each.s;
                ELSIF mine.basis = 0 AND step ->> 'kind' = 'result' THEN
                    PERFORM take_share_v1(mine, each.k, told);
                ELSIF mine.basis <> 0 THEN
                    PERFORM charge_v1(own, NULL, NULL, each.id);
                END IF;
            END IF;
        END IF;
        IF step ->> 'rest' IS NOT NULL THEN
            PERFORM hold_v1(step -> 'rest', step -> 'bound', each.id, each.k, each.s);
        END IF;
    END LOOP;
END $$;

-- What a row costs more since it was priced again, once for each mark. A counter that is forgotten stays so.
CREATE OR REPLACE FUNCTION claudetrace.correct_v1(step jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    call text := step ->> 'call';
    more numeric := step -> 'more';
    each record;
    mine charges;
    place charges;
BEGIN
    FOR each IN
        SELECT ids.id, c.k, c.s
        FROM (
            SELECT b AS id FROM claims_v1(step)
            UNION SELECT budget_id FROM charges WHERE call_id = call AND item = ''
        ) AS ids
        LEFT JOIN claims_v1(step) AS c ON c.b = ids.id
        ORDER BY ids.id
    LOOP
        SELECT * INTO mine FROM charges WHERE call_id = call AND item = '' AND budget_id = each.id;
        place := of_batch_v1(step ->> 'batch', each.id, each.k);
        each.k := COALESCE(mine.key, each.k, place.key);
        each.s := COALESCE(mine.slot, place.slot, each.s);
        INSERT INTO charges (call_id, item, budget_id, key, slot, basis, picousd, calls, at)
        VALUES (
            call, step ->> 'mark', each.id, each.k, each.s, 2,
            CASE WHEN mine.basis = 1 THEN (step ->> 'usd')::numeric ELSE more END, 0, now_s()
        )
        ON CONFLICT DO NOTHING;
        CONTINUE WHEN NOT FOUND;
        IF mine.basis = 1 THEN
            PERFORM charge_v1(call, NULL, NULL, each.id);
        ELSIF mine.basis IS DISTINCT FROM 0 THEN
            UPDATE charges SET picousd = picousd + more WHERE call_id = call AND item = '' AND budget_id = each.id;
            UPDATE counters SET spent = spent + more WHERE budget_id = each.id AND key = each.k AND slot = each.s;
        END IF;
        UPDATE held SET picousd = COALESCE((step #>> '{rest,usd}')::numeric, 0)
        WHERE row_id = step ->> 'id' AND budget_id = each.id AND picousd > 0;
        IF step ->> 'rest' IS NOT NULL THEN
            PERFORM hold_v1(step -> 'rest', step -> 'bound', each.id, each.k, each.s);
        END IF;
    END LOOP;
END $$;

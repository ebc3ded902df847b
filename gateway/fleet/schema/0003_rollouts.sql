-- Changes on their way through the fleet. What a box says of itself is in `box`; here is what was asked of it.

CREATE TABLE rollout (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,                     -- of a release its sequence
    asked JSONB NOT NULL,                        -- arguments of the command that are the same for each box
    rings TEXT[] NOT NULL,
    failures DOUBLE PRECISION NOT NULL,
    soak INTERVAL NOT NULL,
    patience INTERVAL NOT NULL,
    absence INTERVAL NOT NULL,
    stage TEXT NOT NULL,
    ring INT NOT NULL,
    begun_at TIMESTAMPTZ NOT NULL,               -- of the ring
    whole_at TIMESTAMPTZ,
    halt JSONB,
    signers TEXT NOT NULL,                       -- ids of the keys of those who entered it
    entered_at TIMESTAMPTZ NOT NULL,
    looked_at TIMESTAMPTZ                        -- when somebody carried it last
);

CREATE TABLE rollout_box (
    rollout BIGINT NOT NULL REFERENCES rollout (id),
    site TEXT NOT NULL,
    box TEXT NOT NULL,
    ring INT NOT NULL,
    toml TEXT NOT NULL,                          -- its configuration as it was read when the rollout was entered
    digest TEXT NOT NULL,
    asked_at TIMESTAMPTZ,                        -- since when it has it to do
    said_at TIMESTAMPTZ,                         -- when it was asked last
    was_there BOOLEAN,
    alarms TEXT[],                               -- that stood before the change was in place
    nonce TEXT,                                  -- of what it was asked last, and the answer to that
    outcome TEXT,
    code TEXT,
    excused BOOLEAN NOT NULL DEFAULT FALSE,
    open BOOLEAN NOT NULL DEFAULT TRUE,          -- the rollout has it in its hands
    PRIMARY KEY (rollout, site, box)
);
-- Two rollouts never have one box
CREATE UNIQUE INDEX rollout_box_open ON rollout_box (site, box) WHERE open;

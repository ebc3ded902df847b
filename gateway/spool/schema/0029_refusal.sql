-- How many objects were refused for want of resources, ever.
CREATE TABLE refusal (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    count INTEGER NOT NULL
) STRICT;
INSERT INTO refusal (only, count) VALUES (1, 0);

-- The form in which a rule of the site has an instance sent; empty: as the destination's own setting says.
ALTER TABLE delivery ADD COLUMN compression TEXT NOT NULL DEFAULT '';

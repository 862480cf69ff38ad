-- Run once, when the database server's volume is empty: Trainshed's own role and database.
\getenv password POSTGRES_PASSWORD
CREATE ROLE trainshed LOGIN PASSWORD :'password';
CREATE DATABASE trainshed OWNER trainshed;
-- so that /metrics and `migrate` see how long transactions of other roles, such as a backup's, are open
GRANT pg_read_all_stats TO trainshed;
-- the superuser connects by the container's socket only: docker compose exec postgres psql -U postgres
ALTER ROLE postgres PASSWORD NULL;

import { Paper, Text, Timeline } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { moment } from '../../shared/format'
import type { DetailedSession } from './documents'

/** All that has happened to a session, with the reasons. */
export function SessionTimeline({ session }: { session: DetailedSession }) {
  const { t, i18n } = useTranslation()
  return (
    <Paper className="card" radius="md" p="lg">
      <Timeline active={session.events.length} bulletSize={16} lineWidth={2}>
        {session.events.map((event) => (
          <Timeline.Item
            key={event.id}
            title={
              <Text size="sm" fw={600}>
                {t(`status.${event.status}`)}
              </Text>
            }
          >
            {event.message && <Text size="sm">{event.message}</Text>}
            <Text size="xs" c="dimmed">
              {moment(event.at, i18n.language)}
            </Text>
          </Timeline.Item>
        ))}
      </Timeline>
    </Paper>
  )
}

import { Alert, Button, Code, CopyButton, Group, Loader, Modal, Stack, Text } from '@mantine/core'
import { IconCircleCheck } from '@tabler/icons-react'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation } from 'urql'
import { Failure } from '../../shared/Failure'
import { useScope } from '../../shared/scope'
import { type Agent, JOIN } from './documents'

type Props = { opened: boolean; onClose: () => void; agents: Agent[] }

/** The command that adds a node, and word of the node when it is there. */
export function JoinAgentDialog({ opened, onClose, agents }: Props) {
  const { t } = useTranslation()
  const { resourceGroupId } = useScope()
  const [known, setKnown] = useState<string[]>([])
  const [{ data, error }, create] = useMutation(JOIN)
  // biome-ignore lint/correctness/useExhaustiveDependencies: one token for each time that the dialog opens
  useEffect(() => {
    if (!opened || !resourceGroupId) return
    setKnown(agents.map((agent) => agent.id))
    void create({ input: { resourceGroupId } })
  }, [opened, resourceGroupId])
  const arrived = agents.find((agent) => !known.includes(agent.id) && agent.status === 'ALIVE')
  const command = data?.createJoinToken.command ?? ''
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={onClose}
      title={t('agents.joinTitle')}
      size="lg"
    >
      <Stack>
        {error && <Failure error={error} />}
        <Text size="sm">{t('agents.joinText')}</Text>
        <Code block className="command" data-done={arrived !== undefined || undefined}>
          {command}
        </Code>
        <Group justify="space-between">
          {arrived ? (
            <Alert color="teal" icon={<IconCircleCheck size={18} aria-hidden />} p="xs" role="status">
              {t('agents.joinDone', { name: arrived.name })}
            </Alert>
          ) : (
            <Group gap="xs">
              <Loader size="xs" aria-hidden />
              <Text size="sm" c="dimmed">
                {t('agents.joinWaiting')}
              </Text>
            </Group>
          )}
          <CopyButton value={command}>
            {({ copied, copy }) => (
              <Button variant="light" onClick={copy} disabled={!command}>
                {copied ? t('app.copied') : t('app.copy')}
              </Button>
            )}
          </CopyButton>
        </Group>
      </Stack>
    </Modal>
  )
}
